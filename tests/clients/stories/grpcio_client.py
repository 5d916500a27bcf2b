"""PyPI `grpcio` with `grpcio-reflection`: no generated code, messages by the node's own description."""

import threading
import time
import uuid

import grpc
from count import GRPCS, Count, act
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

COUNT = 200


class Fanfare:
    """One node by what it says of itself."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        assert "fanfare.v1.Publisher" in database.get_services()
        self.pool = DescriptorPool(database)

    def message(self, name, **fields):
        return GetMessageClass(self.pool.FindMessageTypeByName(f"fanfare.v1.{name}"))(**fields)

    def call(self, service, method):
        described = self.pool.FindServiceByName(f"fanfare.v1.{service}").methods_by_name[method]
        kinds = ("stream" if described.client_streaming else "unary") + "_" + (
            "stream" if described.server_streaming else "unary"
        )
        return getattr(self.channel, kinds)(
            f"/fanfare.v1.{service}/{method}",
            request_serializer=GetMessageClass(described.input_type).SerializeToString,
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )

    def draft(self, topic, n, key):
        return self.message("Draft", topic=topic, payload=str(n).encode(), content_type="text/plain", key=key)


def publish(doors, topic, first, last):
    """One call a message, again with its key at the next node until it has a receipt."""
    for n in range(first, last + 1):
        key, turn, end = uuid.uuid4().bytes, n, time.monotonic() + 60
        while True:
            door = doors[turn % len(doors)]
            request = door.message("PublishRequest", draft=door.draft(topic, n, key))
            try:
                door.call("Publisher", "Publish")(request, timeout=5)
                break
            except grpc.RpcError:
                assert time.monotonic() < end, f"message {n} is not placed"
                turn += 1
                time.sleep(0.1)


def subscribe(doors, topic, count, until, begun, answers):
    """Takes messages until `until` of them are here, from the next node whenever a stream ends."""
    cursor, turn = "", 0
    while count.here() < until:
        door = doors[turn % len(doors)]
        turn += 1
        request = door.message("SubscribeRequest", topics=[door.message("Start", topic=topic)], cursor=cursor)
        stream = door.call("Subscriber", "Subscribe")(request)
        try:
            for event in stream:
                kind = event.WhichOneof("event")
                if kind == "subscribed":
                    answers.append(event.subscribed.answer)
                    cursor = event.subscribed.cursor
                    begun.set()
                elif kind == "items":
                    for item in event.items.items:
                        if item.WhichOneof("item") == "gap":
                            count.gap(getattr(item.gap, "from").offset, item.gap.to.offset)
                        else:
                            count.take(item.message.payload, item.message.position.offset)
                    cursor = event.items.cursor
                    if count.here() >= until:
                        break
        except grpc.RpcError:
            time.sleep(0.1)
        stream.cancel()


def story_its_node_is_killed_and_the_cursor_goes_on_at_another():
    doors = [Fanfare(address) for address in GRPCS]
    topic, count, begun, answers = "py.grpc", Count(), threading.Event(), []
    order = [doors[2], doors[0], doors[1]]
    reader = threading.Thread(target=subscribe, args=(order, topic, count, COUNT, begun, answers), daemon=True)
    reader.start()
    assert begun.wait(60), "not subscribed"
    publish(doors[:2], topic, 1, COUNT // 2)
    kill = threading.Thread(target=act, args=(3, "kill"))
    kill.start()
    publish(doors[:2], topic, COUNT // 2 + 1, COUNT - 1)
    kill.join()
    publish(doors[:2], topic, COUNT, COUNT)
    reader.join(60)
    act(3, "start")
    assert not reader.is_alive(), f"{count.here()} of {COUNT} came"
    assert len(answers) > 1, "it was never cut"
    return f"{count.judge(COUNT)}, attached {len(answers)} times"


def story_a_publish_stream_keeps_its_order():
    door = Fanfare(GRPCS[1])
    topic, count = "py.stream", Count()
    request = lambda n: door.message(
        "PublishStreamRequest", id=n, draft=door.draft(topic, n, str(n).encode())
    )
    answers = door.call("Publisher", "PublishStream")(map(request, range(1, COUNT + 1)), timeout=60)
    receipts = [answer for answer in answers]
    assert [answer.WhichOneof("result") for answer in receipts] == ["receipt"] * COUNT, receipts[-1]
    start = door.message("Start", topic=topic, earliest=True)
    for event in door.call("Subscriber", "Subscribe")(door.message("SubscribeRequest", topics=[start]), timeout=60):
        for item in event.items.items:
            count.take(item.message.payload, item.message.position.offset)
        if count.here() >= COUNT:
            break
    assert count.numbers == list(range(1, COUNT + 1)), "not in the order sent"
    return count.judge(COUNT)
