// Stands in for `websocat --protocol NAME URL` on a machine without it: text frames become lines.
import { WebSocket } from "ws";

const [flag, protocol, url] = process.argv.slice(2);
if (flag !== "--protocol") throw new Error(`the stand-in knows no: websocat ${process.argv.slice(2).join(" ")}`);
const socket = new WebSocket(url, protocol);
socket.on("message", (data) => console.log(data.toString()));
socket.on("error", (why) => {
  console.error(why.message);
  process.exit(1);
});
