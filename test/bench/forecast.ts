import { hash } from 'node:crypto';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { NextBoots } from '../../attest-server/references/next-boots.ts';
import { now, statusOf, verdictOf } from '../attest-server/http/api-fixture.ts';
import { madeProof, policyOf } from '../attest-server/policy/made-proof.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { rounded } from './attestation.ts';
import { sized } from './sized.ts';

/** Of 5,000 nodes with disks of their own: each has another initrd, and a kernel that 100 references do not have. */
export interface ForecastFigures {
  readonly nodes: number;
  readonly part_bytes: number;
  /** All of them, once policy or references are others. */
  readonly ms: { readonly p50: number; readonly max: number };
  /** Where nothing moved. */
  readonly unmoved_ms: number;
}

const nodes = sized(5000, 50);
const runs = sized(11, 1);
const digests = (text: string) => ['sha256', 'sha384'].map((bank) => hash(bank, text, 'hex'));

export async function benchForecast(): Promise<ForecastFigures> {
  const label = { group: 'workers', state: 'active', by: 'bench', node: 'n', at: 0 } as const;
  const captured = captureReference(madeProof({ log: recordedLog('debian13-shim-grub') }), {
    ...label,
    name: 'base',
  });
  const references = Array.from({ length: sized(100, 2) }, (_, index) => ({
    ...captured,
    name: `base-${index}`,
  }));
  const [group] = policyOf('require: [identity, boot]').groups;
  if (group === undefined) throw new Error('a policy without groups');
  const parts = new Map<string, Buffer>();
  const verdict = verdictOf({ aspects: { boot: { status: 'affirming', source: 'tpm' } } });
  const statuses = Array.from({ length: nodes }, (_, index) => {
    const part = partOf(index);
    const installed = hash('sha256', part, 'hex');
    parts.set(installed, part);
    return statusOf(`node-${index}`, verdict, { parts: { installed }, expiresAt: now + 1000 });
  });
  let inForce = {};
  const boots = new NextBoots({
    store: { list: async () => references },
    statuses: () => statuses,
    readPart: async (digest) => parts.get(digest) ?? null,
    groupOf: () => group,
    hasLease: () => true,
    hasOpened: () => true,
    inForce: () => inForce,
    now: () => now,
  });
  const timed = async () => {
    const started = performance.now();
    await boots.by();
    return performance.now() - started;
  };
  await timed();
  const unmoved = await timed();
  const took: number[] = [];
  for (let run = 0; run < runs; run++) {
    inForce = {};
    took.push(await timed());
  }
  took.sort((a, b) => a - b);
  const ms = { p50: rounded(took[took.length >> 1] ?? 0), max: rounded(took.at(-1) ?? 0) };
  return { nodes, part_bytes: partOf(0).length, ms, unmoved_ms: rounded(unmoved) };
}

function partOf(index: number): Buffer {
  const file = (kind: string, path: string, text: string, booted = true) => ({
    ...{ kind, path, since: new Date(index * 1000).toISOString(), booted },
    digests: kind === 'kernel' ? [...digests(text), ...digests(`image of ${text}`)] : digests(text),
  });
  const files = [
    file('loader', 'boot/efi/EFI/debian/shimx64.efi', 'shim'),
    file('loader', 'boot/efi/EFI/debian/grubx64.efi', 'grub'),
    file('kernel', 'boot/vmlinuz-6.12.119+deb13-amd64', 'kernel', false),
    file('initrd', 'boot/initrd.img-6.12.119+deb13-amd64', `initrd of ${index}`, false),
    ...['PK', 'KEK', 'db', 'dbx'].map((name) => file('database', name, name)),
  ];
  return Buffer.from(JSON.stringify({ version: 1, files, unread: [] }));
}
