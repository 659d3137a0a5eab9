import assert from 'node:assert/strict';
import type { FileHandle } from 'node:fs/promises';
import { rm } from 'node:fs/promises';
import { pino } from 'pino';
import { type RotateDependencies, rotateKey } from '../../../agent/unlock/rotate.ts';
import type { FixtureMachine } from '../../../swtpm-fixtures/machine.ts';
import type { UnlockingMachine } from '../../../swtpm-fixtures/unlocking-machine.ts';

/** Loses power and boots: what the programs of the boot before noted is gone. */
export async function bootAnew(machine: FixtureMachine, disk: UnlockingMachine, log: Buffer): Promise<void> {
  await machine.powerCycle(log);
  await rm(disk.config.runtimeDir, { recursive: true, force: true });
}

/** What systemd-cryptsetup would open the disk with. */
export async function leasedKey(
  disk: UnlockingMachine,
  volume: string,
  change?: Parameters<UnlockingMachine['unlock']>[1],
): Promise<Buffer> {
  await using program = disk.unlock(volume, change);
  const key = await program.read();
  assert.equal(key.length, 32, (await program.ended).said);
  return key;
}

/** `assay-agent rotate` in this process, so that it can be cut at each write; gives what it says. */
export async function rotateHere(
  disk: UnlockingMachine,
  volume: string,
  { device = disk.device, write }: { device?: string; write?: RotateDependencies['write'] } = {},
): Promise<string> {
  const said: string[] = [];
  await rotateKey({ ...disk.config, volume }, device, {
    logger: pino({ level: 'silent' }),
    signal: new AbortController().signal,
    print: (line) => said.push(line),
    ...(write !== undefined && { write }),
  });
  return said.join('');
}

/** A power cut. @param whole pieces that are written as they are @param bytes of the piece after them, by its length */
export function cutAfter(whole: number, bytes: (length: number) => number) {
  let writes = 0;
  return async (file: FileHandle, piece: Buffer, place: number): Promise<void> => {
    const isLast = writes++ === whole;
    await file.write(piece, 0, isLast ? Math.min(bytes(piece.length), piece.length) : piece.length, place);
    if (isLast) throw new Error('cut');
  };
}
