"""PyPI `websockets`: `async for` over a connection, a cursor kept by the application."""

import asyncio
import json

import websockets
from count import EDGES, Count, act

COUNT = 200


async def subscribe(topic, edges, count, until, begun):
    """Takes messages until `until` of them are here, from the next edge whenever one ends."""
    cursor, answers = "", []
    turn = 0
    while count.here() < until:
        url = f"ws://{edges[turn % len(edges)]}/v1/ws?topic={topic}&cursor={cursor}"
        turn += 1
        try:
            async with websockets.connect(url, subprotocols=["fanfare.v1"]) as socket:
                async for text in socket:
                    frame = json.loads(text)
                    if frame["type"] == "subscribed":
                        answers.append(frame["answer"])
                        begun.set()
                    for item in frame.get("items", []):
                        offset = lambda position: position.split("-")[1]
                        if item["type"] == "gap":
                            count.gap(offset(item["from"]), offset(item["to"]))
                        else:
                            count.take(item["data"], offset(item["position"]))
                    cursor = frame.get("cursor", cursor)
                    if count.here() >= until:
                        break
        except (OSError, websockets.exceptions.WebSocketException):
            await asyncio.sleep(0.1)
    return answers


async def publish(topic, first, last, edge):
    """Publishes over a socket of its own, pipelined, and waits for every ack."""
    async with websockets.connect(f"ws://{edge}/v1/ws", subprotocols=["fanfare.v1"]) as socket:
        await socket.send(json.dumps({"type": "hello"}))
        assert json.loads(await socket.recv())["type"] == "welcome"
        left = {}
        for n in range(first, last + 1):
            left[n] = {"type": "publish", "id": n, "topic": topic, "data": n, "key": f"{topic}-{n}"}
            await socket.send(json.dumps(left[n]))
        while left:
            answer = json.loads(await asyncio.wait_for(socket.recv(), 60))
            if answer["type"] == "ack":
                left.pop(answer["id"])
            elif answer["type"] == "error":
                # The shard's leader went away: the same draft with the same key.
                assert answer["advice"] in ("retry_later", "retry_same_key"), answer
                await asyncio.sleep(0.1)
                await socket.send(json.dumps(left[answer["id"]]))


async def story_its_node_is_killed_and_the_cursor_goes_on_at_another():
    topic, count, begun = "py.ws", Count(), asyncio.Event()
    edges = [EDGES[2], EDGES[0], EDGES[1]]
    reader = asyncio.create_task(subscribe(topic, edges, count, COUNT, begun))
    await begun.wait()
    await publish(topic, 1, COUNT // 2, EDGES[0])
    kill = asyncio.to_thread(act, 3, "kill")
    await asyncio.gather(kill, publish(topic, COUNT // 2 + 1, COUNT - 1, EDGES[1]))
    await publish(topic, COUNT, COUNT, EDGES[1])
    answers = await asyncio.wait_for(reader, 60)
    await asyncio.to_thread(act, 3, "start")
    assert answers[0] == "latest" and set(answers[1:]) == {"recovered"}, answers
    return f"{count.judge(COUNT)}, answers {answers}"
