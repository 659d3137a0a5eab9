import { setTimeout as sleep } from 'node:timers/promises';
import { openWire, type Wire } from './wire.ts';

/** Commands of swtpm's control channel, from its manual page swtpm_ioctls(3). */
const controlCommand = { init: 2, setLocality: 5 } as const;

/**
 * Powers a software TPM on: waits for its control socket, sends INIT, and sets the locality
 * that the following commands come from (0, 3 or 4).
 */
export async function powerOn(controlPath: string, locality: number): Promise<void> {
  const wire = await openWhenListening(controlPath);
  try {
    await control(wire, controlCommand.init, Buffer.alloc(4));
    if (locality !== 0) await control(wire, controlCommand.setLocality, Buffer.from([locality]));
  } finally {
    await wire.close();
  }
}

/** Sets the locality that the following commands come from. */
export async function setLocality(controlPath: string, locality: number): Promise<void> {
  const wire = await openWire(controlPath);
  try {
    await control(wire, controlCommand.setLocality, Buffer.from([locality]));
  } finally {
    await wire.close();
  }
}

async function control(wire: Wire, command: number, body: Buffer): Promise<void> {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(command);
  const answer = await wire.ask(Buffer.concat([head, body]), (bytes) => bytes.length >= 4);
  const result = answer.readUInt32BE(0);
  if (result !== 0) throw new Error(`swtpm refused control command ${command} with 0x${result.toString(16)}`);
}

async function openWhenListening(path: string): Promise<Wire> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await openWire(path);
    } catch (error) {
      if (performance.now() > deadline) throw new Error(`swtpm does not listen on ${path}`, { cause: error });
      await sleep(3);
    }
  }
}
