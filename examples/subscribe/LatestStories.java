// Print the latest version of each story on a compacted topic, and end:
// java -cp 'lib/*' LatestStories.java [HOST:PORT [TOPIC]]

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class LatestStories {
  record Held(String first, int version, String raw, boolean replayed, boolean onRoute, JsonNode document) {}

  static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    String bootstrap = args.length > 0 ? args[0] : "127.0.0.1:9092";
    String topic = args.length > 1 ? args[1] : "news.sanctions";
    Map<String, Object> settings = Map.of(
        "bootstrap.servers", bootstrap,
        "isolation.level", "read_committed",   // Java's own default shows aborted records too
        "key.deserializer", StringDeserializer.class,
        "value.deserializer", StringDeserializer.class);
    Map<String, Held> stories = new TreeMap<>();
    try (var consumer = new KafkaConsumer<String, String>(settings)) {
      List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
          .map(each -> new TopicPartition(topic, each.partition())).toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      while (partitions.stream().anyMatch(each -> consumer.position(each) < ends.get(each))) {
        for (var record : consumer.poll(Duration.ofMillis(200))) {
          take(stories, record);
        }
      }
    }
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    stories.forEach((story, held) -> print(out, story, held));
  }

  /** Keeps what the record says, unless it is older than what we hold. */
  static void take(Map<String, Held> stories, ConsumerRecord<String, String> record) throws Exception {
    int version = Integer.parseInt(header(record, "version"));   // a number: as texts, "10" comes before "9"
    boolean replayed = header(record, "reprocessed") != null;
    Held held = stories.get(record.key());
    if (header(record, "kind").equals("unrouted")) {             // the story's latest version left this route
      if (held != null && version >= held.version && (held.replayed || !replayed)) {
        stories.put(record.key(), new Held(held.first, version, header(record, "raw"), held.replayed, false, held.document));
      }
      return;
    }
    String raw = header(record, "raw");
    JsonNode document = JSON.readTree(record.value());
    String first = document.get("firstCreated").asText();
    boolean again = replayed && held != null && !held.replayed;
    if (again && !raw.equals(held.raw)) {
      return;   // a replay counts versions by itself: it may only tag anew the very text that we hold
    }
    if (held != null && !held.replayed && !replayed
        && (first.compareTo(held.first) < 0 || first.equals(held.first) && version < held.version)) {
      return;   // older; a story that was forgotten starts over with version 1, and a later first date
    }
    stories.put(record.key(), again
        ? new Held(held.first, held.version, raw, false, true, document)
        : new Held(first, version, raw, replayed, true, document));
  }

  static void print(PrintStream out, String story, Held held) {
    out.println((held.onRoute ? "on-route " : "left ") + held.version + " " + story);
    String title = held.document.at("/headlines/0/value").asText();
    String body = held.document.at("/bodies/0/value").asText();
    for (JsonNode item : held.document.at("/dateline/evidence")) {
      String text = item.get("field").asText().equals("title") ? title : body;
      // Java counts UTF-16 units: an emoji or a rare Han character is two of them, and one code point.
      int start = text.offsetByCodePoints(0, item.get("start").asInt());
      int end = text.offsetByCodePoints(start, item.get("end").asInt() - item.get("start").asInt());
      out.println("  " + item.get("tag").asText() + " " + item.get("field").asText() + " " + text.substring(start, end));
    }
  }

  static String header(ConsumerRecord<String, String> record, String name) {
    var found = record.headers().lastHeader(name);
    return found == null ? null : new String(found.value(), StandardCharsets.UTF_8);
  }
}
