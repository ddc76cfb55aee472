// Loaded before Portkey's gateway, which has no option for the address that it listens on.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...others) {
  if (typeof port !== "number") return listen.call(this, port, ...others);
  const callbacks = others.filter((other) => typeof other === "function");
  return listen.call(this, port, "127.0.0.1", ...callbacks);
};
