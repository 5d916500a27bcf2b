// npm `htmx.org` 2 and `htmx-ext-sse`, in a browser.
import { COUNT, page, polling, settles } from "../lib/htmx.mjs";
import { leaves } from "../lib/faults.mjs";
import { until } from "../lib/until.mjs";

const SCRIPT = `<script src="https://cdn.jsdelivr.net/npm/htmx.org@2.0.11/dist/htmx.min.js"></script>`;
const SSE = `${SCRIPT}<script src="https://cdn.jsdelivr.net/npm/htmx-ext-sse@2.2.4/dist/sse.min.js"></script>`;

export const stories = {
  ...polling("htmx 2", SCRIPT),

  async "htmx 2: the sse extension, its node killed"(cluster) {
    const markup = `${SSE}<main hx-ext="sse" sse-connect="/v1/sse?topic=htmx2.sse&format=html&from=earliest"
      sse-swap="message,$gap" hx-swap="beforeend"></main>`;
    return page(cluster, markup, async (opened, balancer) => {
      await until("a stream", () => balancer.taken.get(cluster.edge(3)) > 0);
      await cluster.publish("htmx2.sse", 1, COUNT, { at: leaves(cluster, COUNT) });
      return settles(opened, COUNT);
    });
  },

  async "htmx 2: the sse extension behind a proxy that says 502, told where to go on"(cluster) {
    const markup = `${SSE}<main hx-ext="sse" sse-connect="/v1/sse?topic=htmx2.bad&format=html&from=earliest"
      sse-swap="message,$gap" hx-swap="beforeend"></main><script>
      document.body.addEventListener("htmx:sseMessage", ({ target, detail }) => {
        const url = new URL(target.getAttribute("sse-connect"), document.baseURI);
        url.searchParams.set("cursor", detail.lastEventId);
        target.setAttribute("sse-connect", url);
      });
      </script>`;
    return page(cluster, markup, async (opened, balancer) => {
      await cluster.publish("htmx2.bad", 1, 50);
      await settles(opened, 50);
      balancer.bad = true;
      balancer.cut();
      await cluster.publish("htmx2.bad", 51, 100);
      await until("the stream is refused", () => balancer.refused > 0);
      balancer.bad = false;
      return settles(opened, 100);
    });
  },
};
