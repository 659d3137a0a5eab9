import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { initrdBounds } from '../../attest-server/verify/initrd/bounds.ts';
import { file, folder, newc } from '../../swtpm-fixtures/newc.ts';
import { median } from './cpu-time.ts';
import { sized } from './sized.ts';

export interface InitrdFigures {
  /** Of the image, and unpacked. */
  readonly megabytes: number;
  readonly unpacked_megabytes: number;
  readonly files: number;
  /** Of one image: CPU time of all threads, median of three. */
  readonly cpu_ms: number;
  /** Processor time of the longest step, between which others come, and memory above that of before: medians. */
  readonly slice_ms: number;
  readonly mib: number;
}

/** Of what the server does with an image: read it, keep what is in it, judge that, and all of it from answers to a verdict. */
type Work = 'read' | 'keep' | 'judge' | 'answers';
type Figures = Readonly<Partial<Record<Work, InitrdFigures>>>;

/** An image of some 60 MB in each form, of programs; and one of many short files and long lists, as somebody makes it who means harm. */
export async function benchInitrd(): Promise<Readonly<Record<'gzip' | 'zstd' | 'hostile', Figures>>> {
  const dir = await mkdtemp(join(tmpdir(), 'assay-bench-'));
  try {
    const path = join(dir, 'initrd.img');
    const figuresOf = async (image: Buffer, unpacked: number, works: readonly Work[]): Promise<Figures> => {
      await writeFile(path, image);
      const figures: Partial<Record<Work, InitrdFigures>> = {};
      for (const work of works) {
        const runs: z.infer<typeof said>[] = [];
        for (let turn = 0; turn < sized(3, 1); turn++) runs.push(await measured(path, work));
        figures[work] = {
          megabytes: Math.round(image.length / 1e6),
          unpacked_megabytes: Math.round(unpacked / 1e6),
          files: runs[0]?.entries ?? 0,
          cpu_ms: Math.round(median(runs.map(({ cpu }) => cpu))),
          slice_ms: Math.round(median(runs.map(({ slice }) => slice)) * 10) / 10,
          mib: Math.round(median(runs.map(({ mib }) => mib))),
        };
      }
      return figures;
    };
    const archive = await archiveOfPrograms();
    const gzip = await figuresOf(gzipSync(archive, { level: 6 }), archive.length, ['read']);
    const packed = zstdCompressSync(archive, { params: { [constants.ZSTD_c_compressionLevel]: 3 } });
    const zstd = await figuresOf(packed, archive.length, ['read', 'keep', 'judge', 'answers']);
    const lists = archiveOfLists();
    const hostile = await figuresOf(gzipSync(lists), lists.length, ['read', 'keep', 'judge', 'answers']);
    return { gzip, zstd, hostile };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const said = z.object({ cpu: z.number(), slice: z.number(), mib: z.number(), entries: z.number() });

async function measured(path: string, work: Work): Promise<z.infer<typeof said>> {
  const program = join(import.meta.dirname, 'initrd-side.ts');
  const { stdout } = await run(process.execPath, [program, path, work], {
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

const unpackedBytes = sized(180e6, 3e6);

/** As many entries as are read, with long names, and lists that rules read, of a MiB each. */
function archiveOfLists(): Buffer {
  const modules = 'usr/lib/modules/6.12';
  const lists = ['alias', 'symbols', 'dep', 'softdep', 'order', 'builtin'].map((name) =>
    file(`${modules}/modules.${name}`, linesOf(name)),
  );
  const names = Array.from({ length: sized(initrdBounds.entries - 100, 100) }, (_, index) =>
    file(`usr/lib/${'n'.repeat(80)}-${index}`, `${index}`),
  );
  return newc([
    ...['usr', 'usr/lib', 'usr/lib/modules', modules].map(folder),
    file(`${modules}/a.ko`, 'a'),
    ...names,
    ...lists,
  ]);
}

/** Of some form, and all that they name is there: a rule reads them to their end. */
function linesOf(list: string): Buffer {
  const line =
    { alias: 'alias a a', symbols: 'alias a a', dep: 'a.ko:', softdep: 'softdep a' }[list] ?? 'a.ko';
  return Buffer.from(`${line}\n`.repeat(Math.floor((initrdBounds.contentBytes - 100) / (line.length + 1))));
}
