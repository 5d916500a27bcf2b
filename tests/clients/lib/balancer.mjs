// A load balancer of TCP connections: each goes to the first edge, in the given order, that takes
// it. It knows nothing of HTTP, holds no session to a node, and drops a connection with its edge.
import { connect, createServer } from "node:net";

export class Balancer {
  /** Edges as `HOST:PORT`, the preferred one first. */
  static async start(edges) {
    const balancer = new Balancer(edges);
    await new Promise((resolve) => balancer.server.listen(0, "127.0.0.1", resolve));
    return balancer;
  }

  constructor(edges) {
    this.edges = edges;
    this.open = new Set();
    /** Bytes that came from clients and went to them. */
    this.up = 0;
    this.down = 0;
    /** Answers 502 to whoever connects, as a proxy does whose backends are all away. */
    this.bad = false;
    this.refused = 0;
    /** ms by which what clients send comes late. */
    this.late = 0;
    /** Connections that each edge has taken. */
    this.taken = new Map(edges.map((edge) => [edge, 0]));
    this.server = createServer((client) => this.#pass(client, 0));
  }

  get origin() {
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  #pass(client, at) {
    if (this.bad) return this.#refuse(client);
    const edge = this.edges[at];
    if (!edge || client.destroyed) return client.destroy();
    const [host, port] = edge.split(":");
    const upstream = connect(Number(port), host);
    const refused = () => this.#pass(client, at + 1);
    upstream.once("error", refused);
    upstream.once("connect", () => {
      upstream.off("error", refused);
      this.taken.set(edge, this.taken.get(edge) + 1);
      for (const [one, other] of [[client, upstream], [upstream, client]]) {
        this.open.add(one);
        one.on("error", () => {});
        one.once("close", () => {
          this.open.delete(one);
          other.destroy();
        });
      }
      upstream.pipe(client);
      upstream.on("data", (bytes) => (this.down += bytes.length));
      client.on("data", (bytes) => {
        this.up += bytes.length;
        setTimeout(() => upstream.write(bytes), this.late);
      });
    });
  }

  #refuse(client) {
    client.on("error", () => {});
    client.once("data", () => {
      this.refused++;
      client.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
  }

  /** Cuts what is open now, as a proxy that is loaded again does. */
  cut() {
    for (const socket of this.open) socket.destroy();
  }

  async stop() {
    this.server.close();
    this.cut();
  }
}
