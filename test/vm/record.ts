import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bundle } from '../../attest-server/formats/bundle.ts';
import { parseEventLog } from '../../attest-server/verify/tpm/event-log.ts';
import { type Expected, referenceOf } from '../vectors/vector.ts';
import { type Boots, bootAll, bootedBy } from './boots.ts';

/** Boots the machine, and writes down what it showed: the recording that is vouched for, and the vectors of it. */
const fixtures = join(import.meta.dirname, '../../swtpm-fixtures');
const name = 'debian13-sdboot-entry';

const made = 'recorded in a QEMU guest by test/vm/record.ts, with systemd-boot and the kernel of Debian 13';
const vectors: Readonly<Record<string, readonly [keyof Boots, Omit<Expected, 'references' | 'made'>]>> = {
  '132-control': [
    'honest',
    {
      rows: [],
      attack: 'none: systemd-boot starts a kernel by an entry with a line for its initrd',
      state: 'trusted',
      codes: [],
    },
  ],
  '132-initrd-by-options': [
    'attacked',
    {
      rows: [132],
      attack:
        'an entry names another initrd in its options alone, so that it is loaded unmeasured; it extends PCR 9 with the good digest, and the log of the good boot is shown',
      state: 'untrusted',
      codes: ['boot_remeasured'],
    },
  ],
  '134-initrd-by-options': [
    'unmasked',
    {
      rows: [134],
      attack: 'an entry names an initrd in its options alone, so that it is loaded unmeasured',
      state: 'untrusted',
      codes: ['initrd_unmeasured'],
    },
  ],
};

async function write(path: readonly string[], content: string | Buffer): Promise<void> {
  const file = join(fixtures, ...path);
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, content);
}

const logOf = ({ parts }: Bundle) => Buffer.from(parts.boot?.bytes ?? '', 'base64');

const boots = await bootAll();
const log = logOf(boots.honest);
const [quote] = boots.honest.quotes;
const { 10: _, ...pcrs } = quote?.pcrs.sha256 ?? {};
const { startupLocality } = parseEventLog(log);
await write(['recorded', name, 'binary_bios_measurements'], log);
const untouched = Object.entries(pcrs).filter(([, value]) => !/^(0+|f+)$/.test(value));
const expected = { startupLocality, banks: { sha256: Object.fromEntries(untouched) } };
await write(['recorded', name, 'expected.json'], `${JSON.stringify(expected, null, 2)}\n`);
await write(['vectors', 'references', name, 'good.json'], `${JSON.stringify(referenceOf(log))}\n`);
for (const [vector, [boot, answer]] of Object.entries(vectors)) {
  await rm(join(fixtures, 'vectors', vector), { recursive: true, force: true });
  await write(['vectors', vector, 'bundle.json'], `${JSON.stringify(boots[boot])}\n`);
  await write(['vectors', vector, 'policy.yaml'], bootedBy);
  const { rows, attack, state, codes } = answer;
  const said: Expected = { rows, attack, made, references: name, state, codes };
  await write(['vectors', vector, 'expected.json'], `${JSON.stringify(said, null, 2)}\n`);
}
