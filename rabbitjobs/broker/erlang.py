"""Erlang that counts the messages of a queue exactly, to be evaluated inside a server."""

from __future__ import annotations

import re


def _binary(text: str) -> str:
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"


def count(vhost: str, queue: str) -> str:
    """Erlang for the number of messages in a queue.

    A quorum queue is read consistently: a leader that has just been elected
    answers other queries before it has replayed its log.
    """
    return f"""
        case rabbit_amqqueue:lookup(rabbit_misc:r({_binary(vhost)}, queue, {_binary(queue)})) of
            {{ok, Q}} -> {_TOTAL};
            Missing -> Missing
        end.
    """


def count_all(vhost: str) -> str:
    """Erlang for the same of every queue of a vhost, as a text that ``read_counts`` reads."""
    return f"""
        Count = fun(Q) -> {_TOTAL} end,
        lists:flatten([io_lib:format("~s=~w|", [
            binary:encode_hex(element(4, amqqueue:get_name(Q))), Count(Q)
        ]) || Q <- rabbit_amqqueue:list({_binary(vhost)})]).
    """


def read_counts(text: str) -> dict[str, int] | None:
    """The numbers by queue; ``None`` while a queue has no leader to ask."""
    plain = re.sub(r'["\s]', "", text)  # Erlang breaks long texts into lines
    counts = [part.partition("=") for part in plain.split("|") if part]
    if not all(number.isdigit() for _, _, number in counts):
        return None
    return {bytes.fromhex(name).decode(): int(number) for name, _, number in counts}


_TOTAL = """
    case amqqueue:get_type(Q) of
        rabbit_quorum_queue ->
            case ra:consistent_query(amqqueue:get_pid(Q),
                                     {rabbit_fifo, query_messages_total, []}) of
                {ok, Total, _} -> Total;
                Other -> Other
            end;
        _ -> proplists:get_value(messages, rabbit_amqqueue:info(Q, [messages]))
    end
"""
