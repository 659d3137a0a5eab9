import type { Addresses } from './measured-server.ts';
import type { Machine } from './population.ts';
import { attest, type Fleet, fleet, open } from './simulated-agents.ts';

/** Agents that are enrolled, take each challenge, and answer it with one byte a second. */
export async function connectTarpit(server: Addresses, machines: readonly Machine[]): Promise<Fleet> {
  const links = await Promise.all(
    machines.map(async (machine, index) => {
      const link = await open(server, 512 + index);
      attest(
        link,
        machine,
        () => {},
        (evidence) => {
          const frame = textFrame(Buffer.from(evidence));
          let at = 0;
          const drip = setInterval(() => {
            if (link.tls.writable && at < frame.length) link.tls.write(frame.subarray(at, ++at));
          }, 1_000);
          link.tls.once('close', () => clearInterval(drip));
        },
      );
      return link;
    }),
  );
  return fleet(links, () => 0);
}

/** RFC 6455, section 5.2: a final text frame of 126 to 65,535 bytes, with a mask of zeros. */
function textFrame(payload: Buffer): Buffer {
  const head = Buffer.from([0x81, 0xfe, 0, 0, 0, 0, 0, 0]);
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}
