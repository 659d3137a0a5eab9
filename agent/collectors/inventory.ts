import { extname, join } from 'node:path';
import { run } from 'node-tpm2/run';
import { limits } from '../../attest-server/wire/limits.ts';
import { readBootId } from './boot-id.ts';
import { type PartCollector, Unavailable } from './collector.ts';
import { isRunningMachine } from './host-view.ts';

/** Takes an inventory: JSON. @throws Error saying why there is none */
export type TakeInventory = (sysroot: string) => Promise<Buffer>;

const hour = 3_600_000;

/**
 * The inventory of the machine, for people: the last one, at most an hour old or as old as the last answer. An answer starts
 * the next one and does not wait for it, so that the first answer has none. Its text holds no time, so that an unchanged one
 * is not sent again.
 * @param clock milliseconds that never go back
 */
export function inventory(
  take: TakeInventory = byProgram,
  clock: () => number = () => performance.now(),
): PartCollector {
  let startedAt = Number.NEGATIVE_INFINITY;
  let last: Buffer | null = null;
  let fault: string | null = null;
  return {
    name: 'inventory',
    part: 'inventory',
    async read(sysroot) {
      // A tree that was recorded elsewhere says nothing of this machine.
      if (clock() - startedAt >= hour && (await isThisMachine(sysroot))) {
        startedAt = clock();
        void take(sysroot).then(
          (bytes) => {
            last = bytes;
            fault = null;
          },
          (error: unknown) => {
            fault = error instanceof Error ? error.message : String(error);
          },
        );
      }
      return last ?? (fault === null ? null : new Unavailable(fault));
    },
  };
}

/** One kernel has one name for each of its boots. */
async function isThisMachine(sysroot: string): Promise<boolean> {
  if (sysroot === '/') return true;
  const [there, here] = await Promise.all([sysroot, '/'].map((root) => readBootId(root).catch(() => null)));
  return there !== null && there === here && (await isRunningMachine(sysroot));
}

/** A process that ends: what the package needs of memory goes with it. */
async function byProgram(sysroot: string): Promise<Buffer> {
  const program = join(import.meta.dirname, `inventory-program${extname(import.meta.filename)}`);
  const { stdout } = await run(process.execPath, [program, ...(sysroot === '/' ? [] : ['container'])], {
    timeoutMs: 30_000,
    maxOutputBytes: limits.parts.inventory,
    background: true,
  });
  if (!stdout.subarray(0, 1).equals(Buffer.from('{'))) throw new Error('the inventory is no JSON object');
  return stdout;
}
