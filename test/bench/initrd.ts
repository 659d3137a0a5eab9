import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { file, folder, newc } from '../attest-server/verify/initrd/newc.ts';
import { median } from './cpu-time.ts';

export interface InitrdFigures {
  /** Of the image, and unpacked. */
  readonly megabytes: number;
  readonly unpacked_megabytes: number;
  readonly files: number;
  /** Of one image, from its first byte to its manifest: CPU time of all threads, median of five. */
  readonly cpu_ms: number;
  /** Processor time of the longest step, between which others come, and memory above that of before: medians. */
  readonly slice_ms: number;
  readonly mib: number;
}

/** An image of some 60 MB in each form, of programs. */
export async function benchInitrd(): Promise<Readonly<Record<'gzip' | 'zstd', InitrdFigures>>> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-bench-'));
  try {
    const archive = await archiveOfPrograms();
    const packed = {
      gzip: gzipSync(archive, { level: 6 }),
      zstd: zstdCompressSync(archive, { params: { [constants.ZSTD_c_compressionLevel]: 3 } }),
    };
    const path = join(dir, 'initrd.img');
    const figuresOf = async (image: Buffer): Promise<InitrdFigures> => {
      await writeFile(path, image);
      const runs: z.infer<typeof said>[] = [];
      for (let turn = 0; turn < 5; turn++) runs.push(await measured(path));
      return {
        megabytes: Math.round(image.length / 1e6),
        unpacked_megabytes: Math.round(archive.length / 1e6),
        files: runs[0]?.entries ?? 0,
        cpu_ms: Math.round(median(runs.map(({ cpu }) => cpu))),
        slice_ms: Math.round(median(runs.map(({ slice }) => slice)) * 10) / 10,
        mib: Math.round(median(runs.map(({ mib }) => mib))),
      };
    };
    return { gzip: await figuresOf(packed.gzip), zstd: await figuresOf(packed.zstd) };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const said = z.object({ cpu: z.number(), slice: z.number(), mib: z.number(), entries: z.number() });

async function measured(path: string): Promise<z.infer<typeof said>> {
  const program = join(import.meta.dirname, 'initrd-side.ts');
  const { stdout } = await run(process.execPath, [program, path], {
    timeoutMs: 60_000,
    maxOutputBytes: 64 * 1024,
  });
  return said.parse(JSON.parse(stdout.toString()));
}

/** Pieces of the program of Node.js, from 1 KiB to 1 MiB, as an initrd has programs, libraries and modules. */
async function archiveOfPrograms(): Promise<Buffer> {
  const program = await readFile(process.execPath);
  const files = [folder('usr')];
  let bytes = 0;
  for (let turn = 0; bytes < unpackedBytes; turn++) {
    const size = 1024 * 2 ** (turn % 11);
    const from = (turn * 7_919_113) % (program.length - size);
    files.push(file(`usr/file-${turn}`, program.subarray(from, from + size)));
    bytes += size;
  }
  return newc(files);
}

const unpackedBytes = 180e6;
