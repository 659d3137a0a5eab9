import type { NodeView } from '../../api/node-api.ts';
import type { EnrolmentMethod } from '../../formats/enrolment-method.ts';
import type { Source } from '../../wire/verdict.ts';
import { marksLines } from '../marks-text.ts';
import { utc } from '../moment.ts';
import { field, readable, type TextFormat } from '../readable.ts';
import type { LabelledLine } from '../table.ts';

/** The facts on a node besides its reasons, which speak for a trusted one: a block below them. */
export function nodeFacts(node: NodeView, textFormat: TextFormat): string {
  const lines = factLines(node);
  const indent = Math.max(...lines.map(([label]) => label.length)) + 4;
  return lines
    .map(([label, text]) => field(`  ${label.toLowerCase()}`, readable(text, textFormat), indent, textFormat))
    .join('');
}

/** The facts as lines; an unknown one has none. */
function factLines(node: NodeView): readonly LabelledLine[] {
  return [
    ...(node.since === null ? [] : [['Since', utc(node.since)] as const]),
    ...marksLines(node),
    ...exemptOf(node),
    ...affirmed(node),
    ...enrolled(node),
    ...connection(node),
    ...node.claims.map(({ ek, code, attempts, lastSeen, address }): LabelledLine => {
      const key = ek === null ? 'no endorsement key' : `endorsement key ${ek}`;
      return ['Refused', `${code}, ${attempts}x, last ${utc(lastSeen)} from ${address}: ${key}`];
    }),
    ...node.transitions.map(
      ({ at, state, reason }): LabelledLine => [
        'Changed',
        `${utc(at)} to ${state}${reason === null ? '' : ` (${reason})`}`,
      ],
    ),
  ];
}

/** It gets no taint of ours meanwhile; what it is stays as it is. */
function exemptOf({ exemption }: NodeView): readonly LabelledLine[] {
  if (exemption === null) return [];
  const { until, by, reason } = exemption;
  return [['Exempt', `from taints until ${utc(until)}, by ${by}: ${reason}`]];
}

const vouchers: Readonly<Record<Source, string>> = {
  tpm: 'signed by its TPM',
  host: 'said by the node',
  server: 'seen by the server',
};

/** Each affirmed aspect, with its source and the reference that it matches. */
function affirmed({ aspects, references }: NodeView): readonly LabelledLine[] {
  return Object.entries(aspects).flatMap(([aspect, { status, source, references: names = [] }]) => {
    if (status !== 'affirming') return [];
    const like = names.map((name) => {
      const found = references.find((one) => one.name === name);
      return found === undefined ? name : `${name} (${found.by}, ${utc(found.since)})`;
    });
    const by = like.length === 0 ? '' : `, like reference ${like.join(' and ')}`;
    return [[`Affirmed ${aspect}`, `${vouchers[source]}${by}`] as const];
  });
}

const methods: Readonly<Record<EnrolmentMethod, string>> = {
  pin: 'with a pinned key',
  'join-token': 'with a join token',
  approval: 'with an approval',
  cloud: 'vouched for by its cloud',
  vendor: 'vouched for by its cluster and the maker of its TPM',
  'first-use': 'by first use',
};

function enrolled(node: NodeView): readonly LabelledLine[] {
  const { enrolledAt, enrolledBy, bound, ek } = node;
  if (bound === null) return [];
  const at = enrolledAt === null ? '' : `${utc(enrolledAt)} `;
  // Of first use nobody vouched, so nobody is named.
  const who = enrolledBy === null || bound === 'first-use' ? '' : `, by ${enrolledBy}`;
  return [
    ['Enrolled', `${at}${methods[bound]}${who}`],
    ...(ek === null ? [] : [['Endorsement key', ek] as const, ['Endorsed', endorsed(node)] as const]),
  ];
}

/** Without a root's word a certificate is believed only where it says that its TPM is a virtual one. */
function endorsed({ endorsedBy, tpm, tpmClass }: NodeView): string {
  const kind = tpmClass === 'unknown' ? 'of an unknown kind' : tpmClass;
  const who =
    endorsedBy !== null
      ? `${kind}, according to a trusted root`
      : `${tpmClass === 'virtual' ? 'virtual, as its own certificate says; ' : ''}no root that the server trusts vouches for it`;
  return tpm === null ? who : `${tpm}; ${who}`;
}

function connection(node: NodeView): readonly LabelledLine[] {
  const { connectedAt, disconnected, kubeletReady, address, agent } = node;
  const kubelet: readonly LabelledLine[] =
    kubeletReady === null
      ? []
      : [['Kubelet', kubeletReady === 'True' ? 'Ready' : `Ready is ${kubeletReady}`]];
  if (address === null) return kubelet;
  const from = `from ${address}, agent ${agent ?? '-'}`;
  const since = disconnected === null ? '' : `since ${utc(disconnected.at)}, `;
  return [
    connectedAt === null
      ? ['Not connected', `${since}last ${from}`]
      : ['Connected', `since ${utc(connectedAt)} ${from}`],
    ...kubelet,
  ];
}
