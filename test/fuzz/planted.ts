import type { FuzzedParser, ParserList } from './fuzzed-parser.ts';

/** Faults that the fuzzer must find: each parser has one, behind something that it must get through first. */
const planted = (parse: (bytes: Buffer) => unknown): FuzzedParser => ({
  sources: ['test/fuzz/planted.ts'],
  form: { kind: 'big-endian' },
  most: 4096,
  seeds: () => [Buffer.from('GOOD\0\x04data')],
  parse,
  isDeclared: (error) => error instanceof Refused,
  isPastHeader: (error) => error instanceof Refused && error.message !== 'magic',
});

class Refused extends Error {}

/** Byte by byte, so that only who sees which branch was reached gets to the end. */
function maze(bytes: Buffer): unknown {
  if (bytes[0] !== 0x47) throw new Refused('magic');
  if (bytes[4] !== 0x9e) throw new Refused('at 4');
  if (bytes[5] !== 0xd1) throw new Refused('at 4');
  return bytes.readUInt32BE(8);
}

function refuses(bytes: Buffer): number {
  if (bytes.toString('latin1', 0, 4) !== 'GOOD') throw new Refused('magic');
  if (bytes.length < 8) throw new Refused('length');
  return bytes.readUInt16BE(4);
}

const kept: Buffer[] = [];
let asked = 0;

export const parsers: ParserList = {
  faultless: async () => planted(refuses),
  crash: async () => planted(maze),
  endless: async () =>
    planted((bytes) => {
      const count = refuses(bytes);
      for (let i = 0; count > 0xff00; i++) if (i < 0) return i;
      return count;
    }),
  slow: async () =>
    planted((bytes) => {
      if (refuses(bytes) < 0xff00) return 0;
      const before = process.threadCpuUsage();
      let turns = 0;
      // Between two looks it does something: most of the time would be the kernel's.
      do for (let i = 0; i < 100_000; i++) turns ^= i;
      while (process.threadCpuUsage(before).user < 110_000);
      return turns;
    }),
  growth: async () =>
    planted((bytes) => {
      refuses(bytes);
      return kept.push(Buffer.alloc(16_384, 1));
    }),
  bloat: async () => planted((bytes) => Buffer.alloc(refuses(bytes) * 4096)),
  unsteady: async () =>
    planted((bytes) => {
      if (++asked % 2 === 0) throw new Refused('every other time');
      return refuses(bytes);
    }),
};
