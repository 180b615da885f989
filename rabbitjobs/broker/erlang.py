"""Erlang for questions that neither AMQP nor the management API answers exactly."""

from __future__ import annotations


def _binary(text: str) -> str:
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"


def count(vhost: str, queue: str) -> str:
    """An expression for the number of messages in a queue, evaluated inside the server.

    A quorum queue is read consistently: a leader that has just been elected
    answers other queries before it has replayed its log.
    """
    return f"""
        case rabbit_amqqueue:lookup(rabbit_misc:r({_binary(vhost)}, queue, {_binary(queue)})) of
            {{ok, Q}} ->
                case amqqueue:get_type(Q) of
                    rabbit_quorum_queue ->
                        case ra:consistent_query(amqqueue:get_pid(Q),
                                                 {{rabbit_fifo, query_messages_total, []}}) of
                            {{ok, Total, _}} -> Total;
                            Other -> Other
                        end;
                    _ -> proplists:get_value(messages, rabbit_amqqueue:info(Q, [messages]))
                end;
            Missing -> Missing
        end.
    """
