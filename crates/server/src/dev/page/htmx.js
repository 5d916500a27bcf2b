// This is not htmx. It is a short stand-in that understands the attributes this page uses, so that
// the page needs nothing from elsewhere: hx-get, hx-trigger (load, every Ns), hx-swap (innerHTML,
// outerHTML, beforeend, afterend), hx-target. Its events are those of htmx 2 and have its names. With
// the real htmx.js in its place the page works the same, and a test puts it there.
(() => {
  const seen = new WeakSet();
  const inFlight = new Map();
  const meta = document.querySelector('meta[name="htmx-config"]');
  const config = { timeout: 0, ...(meta ? JSON.parse(meta.content) : {}) };

  // The detail is handed over as it is: who listens may change the path.
  const tell = (elt, name, detail) =>
    elt.dispatchEvent(new CustomEvent(name, { bubbles: true, cancelable: true, detail: Object.assign(detail, { elt }) }));

  function swap(elt, html) {
    const named = elt.getAttribute("hx-target");
    const target = !named || named === "this" ? elt : document.querySelector(named);
    if (!target) return;
    const template = document.createElement("template");
    template.innerHTML = html;
    const fragment = template.content;
    const fresh = [...fragment.children];
    switch ((elt.getAttribute("hx-swap") ?? "innerHTML").split(" ")[0]) {
      case "outerHTML": target.replaceWith(fragment); break;
      case "beforeend": target.append(fragment); break;
      case "afterend": target.after(fragment); break;
      default: target.replaceChildren(fragment);
    }
    fresh.forEach(process);
    tell(fresh.at(-1) ?? target, "htmx:afterSwap", { target });
  }

  function issue(elt) {
    // As in htmx: an element has one request at a time, and the next trigger is dropped.
    if (!elt.isConnected || inFlight.has(elt)) return;
    const asked = { path: elt.getAttribute("hx-get"), headers: {}, verb: "get", timeout: config.timeout };
    if (!tell(elt, "htmx:configRequest", asked)) return;
    const xhr = new XMLHttpRequest();
    inFlight.set(elt, xhr);
    const over = (name) => {
      inFlight.delete(elt);
      const successful = name === null;
      tell(elt, "htmx:afterRequest", { xhr, successful, failed: !successful });
      if (name) tell(elt, name, { xhr });
    };
    xhr.onload = () => {
      const fine = xhr.status >= 200 && xhr.status < 400;
      over(fine ? null : "htmx:responseError");
      if (fine && xhr.status !== 204 && elt.isConnected) swap(elt, xhr.responseText);
    };
    xhr.onerror = () => over("htmx:sendError");
    xhr.ontimeout = () => over("htmx:timeout");
    xhr.onabort = () => over("htmx:sendAbort");
    xhr.open("GET", asked.path);
    xhr.timeout = asked.timeout;
    for (const [name, value] of Object.entries(asked.headers)) xhr.setRequestHeader(name, value);
    xhr.send();
  }

  function process(root) {
    const all = [...root.querySelectorAll("[hx-get]")];
    if (root.matches("[hx-get]")) all.push(root);
    for (const elt of all.filter((one) => !seen.has(one))) {
      seen.add(elt);
      for (const trigger of (elt.getAttribute("hx-trigger") ?? "").split(",")) {
        const every = trigger.match(/^\s*every (\d+)(ms|s)\s*$/);
        if (trigger.trim() === "load") queueMicrotask(() => issue(elt));
        if (!every) continue;
        const timer = setInterval(
          () => (elt.isConnected ? issue(elt) : clearInterval(timer)),
          Number(every[1]) * (every[2] === "s" ? 1000 : 1),
        );
      }
    }
  }

  document.addEventListener("htmx:abort", (event) => inFlight.get(event.target)?.abort());
  document.addEventListener("DOMContentLoaded", () => process(document.body));
})();
