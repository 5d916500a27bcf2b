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
      client.on("data", (bytes) => setTimeout(() => upstream.write(bytes), this.late));
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
