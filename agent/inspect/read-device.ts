import { run, ToolError } from 'node-tpm2/run';

/** Milliseconds for one piece of one device. */
const deviceWithin = 2_000;

export interface DevicePiece {
  readonly path: string;
  /** Bytes; both are multiples of 4096. */
  readonly at: number;
  readonly asked: number;
  /** Past the page cache, as cryptsetup reads: what was written to the whole disk is seen in its partition. */
  readonly direct: boolean;
  readonly within?: number;
}

/**
 * A piece of a block device or file; shorter where that ends. A program of its own reads it: a device that hangs would
 * hold a thread of this process for ever, and with it the process.
 * @throws ToolError
 */
export async function readPiece({
  path,
  at,
  asked,
  direct,
  within = deviceWithin,
}: DevicePiece): Promise<Buffer> {
  const size = blockOf(at, asked);
  const args = [`if=${path}`, `bs=${size}`, `skip=${at / size}`, `count=${asked / size}`, 'status=none'];
  const reading = run('dd', direct ? [...args, 'iflag=direct'] : args, {
    timeoutMs: within,
    maxOutputBytes: asked,
  });
  const { stdout } = await endingWithin(reading, within + 500, path);
  return stdout;
}

/** The largest block that both the place and the size are a multiple of, up to 1 MiB. */
function blockOf(at: number, asked: number): number {
  let size = 4096;
  while (size < 1_048_576 && at % (2 * size) === 0 && asked % (2 * size) === 0) size *= 2;
  return size;
}

/** A program that waits for a device in the kernel cannot be killed: nobody waits for its end. */
export async function endingWithin<Value>(
  running: Promise<Value>,
  within: number,
  tool: string,
): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () =>
      late.reject(
        new ToolError(`${tool} gave no answer within ${within} ms`, { code: 'timeout', tool, signal: null }),
      ),
    within,
  );
  try {
    return await Promise.race([running, late.promise]);
  } finally {
    clearTimeout(timer);
    running.catch(() => {});
  }
}
