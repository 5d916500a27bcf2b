// npm `htmx.org` 4 with its own `hx-sse`, in a browser.
import { COUNT, page, polling, settles } from "../lib/htmx.mjs";
import { leaves } from "../lib/faults.mjs";
import { until } from "../lib/until.mjs";

const SCRIPT = `<script src="https://cdn.jsdelivr.net/npm/htmx.org@4.0.1/dist/htmx.min.js"></script>`;
const SSE = `${SCRIPT}<script src="https://cdn.jsdelivr.net/npm/htmx.org@4.0.1/dist/ext/hx-sse.min.js"></script>`;

export const stories = {
  ...polling("htmx 4", SCRIPT),

  async "htmx 4: hx-sse, its node killed"(cluster) {
    const markup = `${SSE}<main hx-sse:connect="/v1/sse?topic=htmx4.sse&format=html&from=earliest"
      hx-swap="beforeend"></main>`;
    return page(cluster, markup, async (opened, balancer) => {
      await until("a stream", () => balancer.taken.get(cluster.edge(3)) > 0);
      await cluster.publish("htmx4.sse", 1, COUNT, { at: leaves(cluster, COUNT) });
      return settles(opened, COUNT);
    });
  },
};
