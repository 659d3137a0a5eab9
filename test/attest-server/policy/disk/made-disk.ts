import { join } from 'node:path';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { noPast } from '../../../../attest-server/policy/appraise.ts';
import type { AspectJudgement, JudgedNode, SharedVolume } from '../../../../attest-server/policy/aspect.ts';
import { neverCapped } from '../../../../attest-server/policy/cap.ts';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { judgeSequence, sightingOf } from '../../../../attest-server/policy/sequence.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { BlockDevice, DiskPart, Inspected } from '../../../../attest-server/wire/disk.ts';
import { diskPartOfFolder } from '../../../recorded/disk-folder.ts';
import { partOf, provenByHand } from '../../verify/made-by-hand.ts';
import { madeProof } from '../made-proof.ts';

export const recordedDisks = join(import.meta.dirname, '../../../../swtpm-fixtures/recorded-nodes/disk');

export function recordedPart(name: string): Promise<DiskPart> {
  return diskPartOfFolder(join(recordedDisks, name));
}

const proof = madeProof({});

/** Evidence with this part; null: it sent none. */
export function proofWith(part: DiskPart | Buffer | null): Proven {
  const bytes = part === null || Buffer.isBuffer(part) ? part : Buffer.from(JSON.stringify(part));
  return provenByHand(proof, { parts: bytes === null ? {} : { disk: partOf(bytes) } });
}

export interface JudgedBy {
  /** What the policy says under `disk`. */
  readonly rules?: unknown;
  readonly references?: readonly Reference[];
  readonly shared?: readonly SharedVolume[];
  /** What was remembered of the node by this aspect. */
  readonly memory?: unknown;
  readonly node?: string;
  readonly at?: number;
}

export const group = parsePolicy(
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: workers\n    nodes: ["*"]\n    require: [disk]\n',
  'p',
).groups[0]!;

export function judgedNode({ shared = [], memory, node = 'n' }: JudgedBy = {}): JudgedNode {
  return {
    name: node,
    tpmClass: 'unknown',
    cap: neverCapped,
    twins: [],
    clusterUuid: null,
    sameUuid: [],
    sharedVolumes: shared,
    past: { ...noPast, memory: memory === undefined ? {} : { disk: memory } },
    sequence: judgeSequence(null, sightingOf(proof)),
    unread: [],
  };
}

export function judged(part: DiskPart | Buffer | null, by: JudgedBy = {}): AspectJudgement {
  const { rules, references = [], at = 0 } = by;
  const judge = disk.prepare(disk.rules(rules), { group, references, remembers: false });
  return judge.judge(proofWith(part), judgedNode(by), at);
}

/** Codes in order, warnings in brackets. */
export function codesOf({ findings }: AspectJudgement): readonly string[] {
  return findings.map(({ code, severity = 'fail' }) => (severity === 'fail' ? code : `[${code}]`));
}

export function inspectedOf({ inspected }: DiskPart): Inspected {
  if ('cause' in inspected) throw new Error(inspected.cause);
  return inspected;
}

/** The same with another member of what root saw. */
export function seenOtherwise(part: DiskPart, change: Partial<Inspected>): DiskPart {
  return { ...part, inspected: { ...inspectedOf(part), ...change } };
}

/** The same with this of the named device. */
export function deviceOtherwise(part: DiskPart, name: string, change: Partial<BlockDevice>): DiskPart {
  return {
    ...part,
    devices: part.devices.map((device) => (device.name === name ? { ...device, ...change } : device)),
  };
}

export function madeDevice(device: string, name: string, change: Partial<BlockDevice> = {}): BlockDevice {
  return { device, name, slaves: [], partitionOf: null, mapping: null, loop: null, raid: null, ...change };
}

/** A mapping by these lines of its table. */
export function mappingOf(name: string, uuid: string, ...table: string[]): Pick<BlockDevice, 'mapping'> {
  return { mapping: { name, uuid, table } };
}

/** The same with the text of its only header's metadata changed. */
export function headerOtherwise(part: DiskPart, change: (metadata: string) => string): DiskPart {
  return seenOtherwise(part, {
    headers: inspectedOf(part).headers.map((header) => ({
      ...header,
      metadata: header.metadata === null ? null : change(header.metadata),
    })),
  });
}
