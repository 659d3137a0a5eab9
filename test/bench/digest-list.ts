import { hash } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { DigestList } from '../../attest-server/formats/digest-list.ts';
import type { ListedFile } from '../../attest-server/formats/packed-list.ts';
import { cpuMs, median } from './cpu-time.ts';
import { sized } from './sized.ts';

export interface DigestListFigures {
  readonly digests: number;
  /** Of all that a list is: digests, paths, packages and the index. */
  readonly megabytes: number;
  /** Its packed form, as it stands in a reference before base64. */
  readonly packed_megabytes: number;
  /** Medians, CPU time of one core: a digest looked up, half of them known. */
  readonly lookup_us: number;
  /** Packed bytes read and checked. */
  readonly read_ms: number;
}

/** A million known files. */
export function benchDigestList(): DigestListFigures {
  const packed = packedFiles();
  const before = heldBytes();
  let list = DigestList.fromBytes(packed);
  const held = heldBytes() - before;
  const reading = Array.from({ length: 5 }, () =>
    cpuMs(() => {
      list = DigestList.fromBytes(packed);
    }),
  );
  const asked = Array.from({ length: lookups }, (_, index) => digestOf(index * 7919));
  const looking = Array.from({ length: 9 }, () =>
    cpuMs(() => {
      let found = 0;
      for (const digest of asked) if (list.find(digest) >= 0) found++;
      if (found !== asked.length / 2) throw new Error(`${found} of ${asked.length} were found`);
    }),
  );
  return {
    digests: list.size,
    megabytes: Math.round((packed.length + held) / 1e5) / 10,
    packed_megabytes: Math.round(packed.length / 1e5) / 10,
    lookup_us: Math.round((median(looking) / lookups) * 1e6) / 1e3,
    read_ms: Math.round(median(reading)),
  };
}

const known = sized(1_000_000, 2_000);
const lookups = sized(200_000, 400);

/** By itself: the list that it makes is let go before memory is measured. */
function packedFiles(): Buffer {
  return DigestList.of(files()).toBytes();
}

/** In order of their paths, as packages list them; numbers from 0 on are known where they are even. */
function* files(): Generator<ListedFile> {
  for (let index = 0; index < known; index++) {
    const kernel = `6.12.${String(index % 40).padStart(2, '0')}-amd64`;
    yield {
      digest: digestOf(index * 2),
      path: `/usr/lib/modules/${kernel}/kernel/drivers/net/ethernet/maker${index % 977}/driver-${index}.ko.xz`,
      package: `linux-image-${kernel} 6.12.${index % 3000}-1`,
    };
  }
}

function digestOf(number: number): Buffer {
  return hash('sha256', `${number % (2 * known)}`, 'buffer');
}

function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  // What a collection frees of buffers is given back with the next ones.
  for (let times = 0; times < 3; times++) runInNewContext('gc')();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
