{{- define "dateline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that the names of pods and of their revisions stay below 63. */}}
{{- define "dateline.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "dateline.name" .) .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dateline.name" .) | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
What keeps this release apart from others on the same Kafka and the same seen store. A dot, since a namespace has none:
with a hyphen release b-c in namespace a would be release c in namespace a-b, and the two would fence each other.
*/}}
{{- define "dateline.prefix" -}}
{{- default (printf "%s.%s" .Release.Namespace .Release.Name) .Values.prefix -}}
{{- end -}}

{{- define "dateline.selector" -}}
app.kubernetes.io/name: {{ include "dateline.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Of pods: nothing that changes with the version, or each upgrade of the chart would restart them. */}}
{{- define "dateline.podLabels" -}}
{{ include "dateline.selector" . }}
app.kubernetes.io/part-of: dateline
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dateline.labels" -}}
{{ include "dateline.selector" . }}
app.kubernetes.io/part-of: dateline
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dateline.imageOf" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end -}}

{{- define "dateline.image" -}}
{{- $image := .Values.image -}}
{{- include "dateline.imageOf" (dict "repository" $image.repository "digest" $image.digest "tag" (default .Chart.AppVersion $image.tag)) -}}
{{- end -}}

{{- define "dateline.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}{{ include "dateline.fullname" . }}
{{- else -}}default{{- end -}}
{{- end -}}

{{- define "dateline.sasl" -}}{{- if hasPrefix "SASL" .Values.kafka.securityProtocol -}}yes{{- end -}}{{- end -}}
{{- define "dateline.tls" -}}{{- if hasSuffix "SSL" .Values.kafka.securityProtocol -}}yes{{- end -}}{{- end -}}
{{- define "dateline.extraCA" -}}{{- if or .Values.extraCA.existingConfigMap .Values.extraCA.existingSecret -}}yes{{- end -}}{{- end -}}
{{- define "dateline.kafkaCA" -}}{{- if and (include "dateline.tls" .) (or .Values.kafka.tls.caSecret .Values.kafka.tls.ca) -}}yes{{- end -}}{{- end -}}
{{- define "dateline.kafkaClient" -}}{{- if and (include "dateline.tls" .) (or .Values.kafka.tls.clientSecret .Values.kafka.tls.cert) -}}yes{{- end -}}{{- end -}}
{{- define "dateline.seenPassword" -}}{{- if or .Values.seen.existingSecret .Values.seen.password -}}yes{{- end -}}{{- end -}}

{{- define "dateline.seenURL" -}}
{{- if .Values.seen.url -}}{{ .Values.seen.url }}
{{- else -}}redis://{{ include "dateline.fullname" . }}-valkey:6379/0{{- end -}}
{{- end -}}

{{/* The Secret that the chart makes of secrets in the values; empty when there are none. */}}
{{- define "dateline.secretData" -}}
{{- if and (include "dateline.sasl" .) .Values.kafka.sasl.password (not .Values.kafka.sasl.existingSecret) }}
kafka-password: {{ .Values.kafka.sasl.password | b64enc }}
{{- end }}
{{- if include "dateline.tls" . }}
{{- if and .Values.kafka.tls.ca (not .Values.kafka.tls.caSecret) }}
kafka-ca.crt: {{ .Values.kafka.tls.ca | b64enc }}
{{- end }}
{{- if and .Values.kafka.tls.cert (not .Values.kafka.tls.clientSecret) }}
kafka-tls.crt: {{ .Values.kafka.tls.cert | b64enc }}
kafka-tls.key: {{ .Values.kafka.tls.key | b64enc }}
{{- end }}
{{- end }}
{{- if and .Values.seen.password (not .Values.seen.existingSecret) }}
seen-password: {{ .Values.seen.password | b64enc }}
{{- end }}
{{- end -}}

{{/* Which Secret and key hold the password of Kafka, and so on: "name key". */}}
{{- define "dateline.secretOf" -}}
{{- $made := printf "%s%s" (include "dateline.fullname" .root) (default "" .suffix) -}}
{{- if .existing -}}{{ .existing }} {{ .key }}{{- else -}}{{ $made }} {{ .made }}{{- end -}}
{{- end -}}

{{- define "dateline.secretSource" -}}
{{- $found := splitList " " (include "dateline.secretOf" .) -}}
- secret:
    name: {{ index $found 0 }}
    items:
      - {key: {{ index $found 1 | quote }}, path: {{ .path }}}
{{- end -}}

{{/* The settings file. Paths of files that only one kind of pod has are in its environment instead. */}}
{{- define "dateline.settings" -}}
{{- $secrets := "/etc/dateline/secrets" -}}
{{- $prefix := include "dateline.prefix" . -}}
{{- $kafka := dict "bootstrap" .Values.kafka.bootstrap "securityProtocol" .Values.kafka.securityProtocol "groupPrefix" (printf "%s." $prefix) "transactionalIdPrefix" (printf "%s." $prefix) -}}
{{- if include "dateline.sasl" . -}}
{{- $_ := set $kafka "saslMechanism" .Values.kafka.sasl.mechanism -}}
{{- $_ := set $kafka "user" .Values.kafka.sasl.user -}}
{{- $_ := set $kafka "passwordFile" (printf "%s/kafka-password" $secrets) -}}
{{- if .Values.kafka.sasl.insecurePlaintext -}}{{- $_ := set $kafka "insecurePlaintext" true -}}{{- end -}}
{{- end -}}
{{- if include "dateline.kafkaCA" . -}}
{{- $_ := set $kafka "caFile" (printf "%s/kafka-ca.crt" $secrets) -}}
{{- else if and (include "dateline.tls" .) (include "dateline.extraCA" .) -}}
{{- $_ := set $kafka "caFile" "/etc/dateline/ca/ca.crt" -}}
{{- end -}}
{{- if include "dateline.kafkaClient" . -}}
{{- $_ := set $kafka "certFile" (printf "%s/kafka-tls.crt" $secrets) -}}
{{- $_ := set $kafka "keyFile" (printf "%s/kafka-tls.key" $secrets) -}}
{{- end -}}
{{- $seen := dict "url" (include "dateline.seenURL" .) "namespace" $prefix -}}
{{- if include "dateline.seenPassword" . -}}{{- $_ := set $seen "passwordFile" (printf "%s/seen-password" $secrets) -}}{{- end -}}
{{- if .Values.seen.caSecret -}}
{{- $_ := set $seen "caFile" (printf "%s/seen-ca.crt" $secrets) -}}
{{- else if and (hasPrefix "rediss:" .Values.seen.url) (include "dateline.extraCA" .) -}}
{{- $_ := set $seen "caFile" "/etc/dateline/ca/ca.crt" -}}
{{- end -}}
{{- $poller := dict "feedsSource" (include "dateline.feedsSource" .) -}}
{{- if .Values.poller.enabled -}}
{{- $_ := set $poller "feedsRefresh" .Values.feeds.refresh -}}
{{- if .Values.feeds.url -}}
{{- $_ := set $poller "feedsUrl" .Values.feeds.url -}}
{{- $_ := set $poller "feedsPrivate" .Values.feeds.allowPrivate -}}
{{- end -}}
{{- end -}}
{{- $taxonomy := dict -}}
{{- if .Values.taxonomy.url -}}
{{- $taxonomy = dict "url" .Values.taxonomy.url "refresh" .Values.taxonomy.refresh "private" .Values.taxonomy.allowPrivate -}}
{{- end -}}
{{- $topics := dict "prefix" (printf "%s." $prefix) "partitions" (int .Values.topics.partitions) "replicas" (int .Values.topics.replicas) "minInsyncReplicas" (int .Values.topics.minInsyncReplicas) "rawRetention" .Values.topics.rawRetention "duplicatesRetention" .Values.topics.duplicatesRetention "deadLetterRetention" .Values.topics.deadLetterRetention -}}
{{- $http := dict "host" .Values.http.host "port" (int .Values.http.port) -}}
{{- $log := merge (dict "format" "json") .Values.config.log -}}
{{- dict "topics" $topics "kafka" (merge $kafka .Values.config.kafka) "seen" (merge $seen .Values.config.seen) "poller" (merge $poller .Values.config.poller) "worker" .Values.config.worker "taxonomy" $taxonomy "http" $http "log" $log | toYaml -}}
{{- end -}}

{{/* What `dateline feeds add` names instead of changing a list that the cluster would put back. */}}
{{- define "dateline.feedsSource" -}}
{{- $release := printf "Helm release %s in namespace %s" .Release.Name .Release.Namespace -}}
{{- if not .Values.poller.enabled -}}the {{ $release }}, which runs no poller
{{- else if .Values.feeds.url -}}{{ .Values.feeds.url }} (value feeds.url of the {{ $release }})
{{- else if .Values.feeds.existingConfigMap -}}ConfigMap {{ .Values.feeds.existingConfigMap }} in namespace {{ .Release.Namespace }}, key {{ include "dateline.feedsKey" . }}
{{- else -}}value feeds.inline of the {{ $release }}
{{- end -}}
{{- end -}}

{{- define "dateline.feedsKey" -}}{{- default (printf "feeds.%s" .Values.feeds.format) .Values.feeds.key -}}{{- end -}}

{{/* Inside the container the name's ending says which form it is. */}}
{{- define "dateline.feedsFile" -}}/etc/dateline/feeds/feeds.{{ .Values.feeds.format }}{{- end -}}

{{/* A file name of taxonomy.files as a key of a ConfigMap, which knows no slash. */}}
{{- define "dateline.taxonomyKey" -}}{{- . | replace "/" "." -}}{{- end -}}

{{- define "dateline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "dateline.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What every pod of Dateline's own image begins with. */}}
{{- define "dateline.podBase" -}}
serviceAccountName: {{ include "dateline.serviceAccount" . }}
automountServiceAccountToken: false
# A Service called dateline would put DATELINE_PORT and the like into the environment, which the settings refuse.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "dateline.podSecurity" . | nindent 2 }}
{{- end -}}

{{- define "dateline.env" -}}
- {name: DATELINE_CONFIG, value: /etc/dateline/config/dateline.yaml}
{{- if include "dateline.extraCA" . }}
# Debian's OpenSSL looks into the system's folder of authorities besides.
- {name: SSL_CERT_FILE, value: /etc/dateline/ca/ca.crt}
{{- end }}
{{- end -}}

{{/* Mounts and volumes of configuration and secrets; suffix "-topics" names the hook's own copies. */}}
{{- define "dateline.mounts" -}}
- {name: config, mountPath: /etc/dateline/config, readOnly: true}
{{- if include "dateline.secretSources" . }}
- {name: secrets, mountPath: /etc/dateline/secrets, readOnly: true}
{{- end }}
{{- if include "dateline.extraCA" .root }}
- {name: ca, mountPath: /etc/dateline/ca, readOnly: true}
{{- end }}
- {name: data, mountPath: /var/lib/dateline}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "dateline.secretSources" -}}
{{- $tls := .root.Values.kafka.tls -}}
{{- if include "dateline.sasl" .root }}
{{ include "dateline.secretSource" (dict "root" .root "suffix" .suffix "existing" .root.Values.kafka.sasl.existingSecret "key" .root.Values.kafka.sasl.passwordKey "made" "kafka-password" "path" "kafka-password") }}
{{- end }}
{{- if include "dateline.kafkaCA" .root }}
{{ include "dateline.secretSource" (dict "root" .root "suffix" .suffix "existing" $tls.caSecret "key" $tls.caKey "made" "kafka-ca.crt" "path" "kafka-ca.crt") }}
{{- end }}
{{- if include "dateline.kafkaClient" .root }}
{{ include "dateline.secretSource" (dict "root" .root "suffix" .suffix "existing" $tls.clientSecret "key" $tls.certKey "made" "kafka-tls.crt" "path" "kafka-tls.crt") }}
{{ include "dateline.secretSource" (dict "root" .root "suffix" .suffix "existing" $tls.clientSecret "key" $tls.keyKey "made" "kafka-tls.key" "path" "kafka-tls.key") }}
{{- end }}
{{- if include "dateline.seenPassword" .root }}
{{ include "dateline.secretSource" (dict "root" .root "suffix" .suffix "existing" .root.Values.seen.existingSecret "key" .root.Values.seen.passwordKey "made" "seen-password" "path" "seen-password") }}
{{- end }}
{{- if .root.Values.seen.caSecret }}
{{ include "dateline.secretSource" (dict "root" .root "existing" .root.Values.seen.caSecret "key" .root.Values.seen.caKey "path" "seen-ca.crt") }}
{{- end }}
{{- end -}}

{{- define "dateline.volumes" -}}
- name: config
  configMap: {name: {{ include "dateline.fullname" .root }}{{ .suffix }}}
{{- with include "dateline.secretSources" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- . | trim | nindent 6 }}
{{- end }}
{{- if include "dateline.extraCA" .root }}
- name: ca
  {{- if .root.Values.extraCA.existingConfigMap }}
  configMap:
    name: {{ .root.Values.extraCA.existingConfigMap }}
  {{- else }}
  secret:
    secretName: {{ .root.Values.extraCA.existingSecret }}
    defaultMode: 0440
  {{- end }}
    items:
      - {key: {{ .root.Values.extraCA.key | quote }}, path: ca.crt}
{{- end }}
- name: data
  emptyDir: {sizeLimit: 256Mi}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- end -}}

{{- define "dateline.taxonomyMounted" -}}{{- if or .Values.taxonomy.files .Values.taxonomy.existingConfigMap -}}yes{{- end -}}{{- end -}}

{{- define "dateline.taxonomyEnv" -}}
{{- if include "dateline.taxonomyMounted" . }}
- {name: DATELINE_TAXONOMY_DIR, value: /etc/dateline/taxonomy}
{{- end }}
{{- end -}}

{{- define "dateline.taxonomyVolume" -}}
{{- if .root.Values.taxonomy.files }}
- name: taxonomy
  configMap:
    name: {{ include "dateline.fullname" .root }}{{ .suffix }}-taxonomy
    items:
      {{- range $name, $_ := .root.Values.taxonomy.files }}
      - {key: {{ include "dateline.taxonomyKey" $name }}, path: {{ $name | quote }}}
      {{- end }}
{{- else if .root.Values.taxonomy.existingConfigMap }}
- name: taxonomy
  configMap: {name: {{ .root.Values.taxonomy.existingConfigMap }}}
{{- end }}
{{- end -}}

{{- define "dateline.probes" -}}
ports:
  - {name: http, containerPort: {{ .Values.http.port }}}
# Start: interpreter, rules, the first answer of the brokers. Alive is not ready: a broker that is away restarts nothing.
startupProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{- define "dateline.scheduling" -}}
{{- $own := index .root.Values .component -}}
{{- if .root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "dateline.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* 7d, 12h, 90s … as milliseconds. */}}
{{- define "dateline.ms" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $each := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000) $unit | int64 -}}
{{- mul $number $each -}}
{{- end -}}

{{/* Every topic: "name kept retention", as worker/stores.py makes them. */}}
{{- define "dateline.topics" -}}
{{- $prefix := printf "%s." (include "dateline.prefix" .) -}}
{{- $raw := include "dateline.ms" .Values.topics.rawRetention -}}
{{ $prefix }}raw delete {{ $raw }}
{{ $prefix }}duplicates delete {{ include "dateline.ms" .Values.topics.duplicatesRetention }}
{{ $prefix }}dead-letter delete {{ include "dateline.ms" .Values.topics.deadLetterRetention }}
{{ $prefix }}feed-state compact 0
{{ $prefix }}enriched compact {{ $raw }}
{{- range .Values.topics.routes }}
{{ $prefix }}{{ . }} compact {{ $raw }}
{{- end }}
{{- end -}}

{{- define "dateline.kafkaPorts" -}}
{{- if .Values.networkPolicy.kafkaPorts -}}
{{- .Values.networkPolicy.kafkaPorts | toJson -}}
{{- else -}}
{{- $ports := list -}}
{{- range splitList "," .Values.kafka.bootstrap -}}{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{- define "dateline.seenPort" -}}
{{- $found := regexFind ":[0-9]+" (regexReplaceAll "^rediss?://" (include "dateline.seenURL" .) "") -}}
{{- $found | trimPrefix ":" | default "6379" -}}
{{- end -}}

{{/* The port of an http(s) address. */}}
{{- define "dateline.urlPort" -}}
{{- $host := regexFind "^[^/?#]+" (regexReplaceAll "^https?://" . "") -}}
{{- $found := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- default (ternary "443" "80" (hasPrefix "https:" .)) $found -}}
{{- end -}}

{{/* What the schema cannot say. */}}
{{- define "dateline.check" -}}
{{- if not .Values.kafka.bootstrap -}}{{- fail "\n\nkafka.bootstrap is needed: host:port of your brokers, several separated by commas\n" -}}{{- end -}}
{{- if and (not .Values.seen.url) (not .Values.valkey.enabled) -}}{{- fail "\n\nseen.url is needed: redis://host:6379/0 of a Valkey or Redis server; for a trial set valkey.enabled=true\n" -}}{{- end -}}
{{- if include "dateline.sasl" . -}}
{{- if not .Values.kafka.sasl.user -}}{{- fail "\n\nkafka.sasl.user is needed with SASL\n" -}}{{- end -}}
{{- if not (or .Values.kafka.sasl.existingSecret .Values.kafka.sasl.password) -}}{{- fail "\n\nkafka.sasl.existingSecret is needed with SASL (or kafka.sasl.password, for a trial)\n" -}}{{- end -}}
{{- end -}}
{{- if ne (empty .Values.kafka.tls.cert) (empty .Values.kafka.tls.key) -}}{{- fail "\n\nkafka.tls.cert and kafka.tls.key are needed together\n" -}}{{- end -}}
{{- if .Values.poller.enabled -}}
{{- $given := 0 -}}
{{- range list .Values.feeds.inline .Values.feeds.existingConfigMap .Values.feeds.url -}}{{- if . -}}{{- $given = add1 $given -}}{{- end -}}{{- end -}}
{{- if ne (int $given) 1 -}}{{- fail "\n\nGive the feed list one way: feeds.inline (--set-file feeds.inline=feeds.yaml), feeds.existingConfigMap or feeds.url; or set poller.enabled=false\n" -}}{{- end -}}
{{- if gt (len .Values.feeds.inline) 512000 -}}{{- fail (printf "\n\nfeeds.inline has %d bytes; a ConfigMap and Helm's record of the release take about 1 MiB together, so at most 500 KiB (512000 bytes) are permitted. Serve the list from an address and set feeds.url\n" (len .Values.feeds.inline)) -}}{{- end -}}
{{- end -}}
{{- $rules := 0 -}}
{{- range list .Values.taxonomy.files .Values.taxonomy.existingConfigMap .Values.taxonomy.url -}}{{- if . -}}{{- $rules = add1 $rules -}}{{- end -}}{{- end -}}
{{- if gt (int $rules) 1 -}}{{- fail "\n\nGive the taxonomy one way: taxonomy.files, taxonomy.existingConfigMap or taxonomy.url\n" -}}{{- end -}}
{{- if and (eq .Values.topics.mode "strimzi") (not .Values.topics.strimzi.cluster) -}}{{- fail "\n\ntopics.strimzi.cluster is needed with topics.mode=strimzi: the name of the Kafka resource\n" -}}{{- end -}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.worker.replicas (or .Values.autoscaling.hpa.enabled .Values.autoscaling.keda.enabled) -}}
{{- if gt (int $most) (int .Values.topics.partitions) -}}{{- fail (printf "\n\n%d workers cannot share %d partitions; raise topics.partitions before the topics are made\n" (int $most) (int .Values.topics.partitions)) -}}{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}{{- fail "\n\nautoscaling.minReplicas is above maxReplicas\n" -}}{{- end -}}
{{- end -}}
