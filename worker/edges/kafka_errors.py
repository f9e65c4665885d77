"""
What each failure of the Kafka client means for us: the table, and how a failure is looked up in it.

What is not in the table is indeterminate inside a transaction, and "wait and try again" outside one.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable

import kafka.errors as k

from worker.ports import Fenced, LogError, LogUnavailable, NotAuthorised, UnreadableInput, WrongSettings

TABLE: tuple[tuple[type[LogError], tuple[type[Exception], ...]], ...] = (
    # The graver first: of several failures the first match decides.
    (Fenced, (k.ProducerFencedError, k.InvalidProducerEpochError, k.FencedInstanceIdError)),
    (
        NotAuthorised,
        (
            k.AuthorizationError,
            k.SaslAuthenticationFailedError,
            k.UnacceptableCredentialError,
            k.SecurityDisabledError,
            ssl.SSLCertVerificationError,
        ),
    ),
    (
        WrongSettings,
        (
            k.KafkaConfigurationError,
            k.UnsupportedVersionError,
            k.UnsupportedForMessageFormatError,
            k.UnsupportedCompressionTypeError,
            k.UnsupportedSaslMechanismError,
            k.IllegalSaslStateError,
            k.InvalidTransactionTimeoutError,
            k.InvalidTxnStateError,
            k.InvalidSessionTimeoutError,
            k.InconsistentGroupProtocolError,
            k.InvalidGroupIdError,
            k.GroupMaxSizeReachedError,
            k.InvalidTopicError,
            k.InvalidPartitionsError,
            k.InvalidReplicationFactorError,
            k.InvalidConfigurationError,
            k.PolicyViolationError,
        ),
    ),
    (
        UnreadableInput,
        (
            k.CorruptRecordError,
            k.UnsupportedCodecError,
            k.LogTruncationError,
            k.OffsetOutOfRangeError,
            k.NoOffsetForPartitionError,
        ),
    ),
)
_CERTIFICATE = re.compile(r"\[SSL: \w*(?:CERTIFICATE|UNKNOWN_CA)\w*\]")
_NAME = re.compile(r"\b[A-Z]\w+Error\b")


def meaning(*failures: BaseException) -> type[LogError]:
    """Return the gravest meaning among *failures* and what caused them; LogUnavailable when none is in the table."""
    kinds = [kind for failure in failures for kind in _kinds(failure)]
    for means, wanted in TABLE:
        if any(issubclass(kind, wanted) for kind in kinds):
            return means
    return LogUnavailable


def words(failure: BaseException) -> str:
    """Return one line for a person: the failure's class and what it says."""
    said = " ".join(str(failure).split())
    name = type(failure).__name__
    return said if name in said else f"{name}: {said}".rstrip(": ")


def translate(failure: BaseException, doing: str) -> LogError:
    """Return *failure* as one of the log's own; *doing* says what was tried."""
    return meaning(failure)(f"{doing}: {words(failure)}")


def of_polling(failure: Exception, place: str) -> LogError:
    """
    Return what a failed poll means; *place* is what was being unpacked, if anything was.

    What is no hiccup of the network came while unpacking.
    """
    known = translate(failure, "reading")
    passing = isinstance(failure, k.KafkaError) and (failure.retriable or not isinstance(known, LogUnavailable))
    if passing and not isinstance(known, UnreadableInput):
        return known
    return UnreadableInput(f"reading {place}{words(failure)}")


def _kinds(failure: BaseException | None) -> Iterable[type[BaseException]]:
    while failure is not None:
        yield type(failure)
        if type(failure) is k.KafkaError:
            # The client wraps fatal answers in a bare KafkaError and keeps only their names.
            for name in _NAME.findall(str(failure)):
                kind = getattr(k, name, None)
                if isinstance(kind, type):
                    yield kind
        if isinstance(failure, k.KafkaConnectionError) and _CERTIFICATE.search(str(failure)):
            # Ours refused or theirs not trusted, expired, of another name: again only words are kept.
            yield ssl.SSLCertVerificationError
        failure = failure.__cause__
