import { verifyBundle } from '../../../attest-server/cli/offline/verify/verify.ts';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { parseCheckpoint } from '../../../attest-server/wire/checkpoint.ts';
import { partNames } from '../../../attest-server/wire/evidence.ts';
import { parseFacts } from '../../../attest-server/wire/facts.ts';
import { parseImaIndex } from '../../../attest-server/wire/ima-pieces.ts';
import { initrdList, parseInitrdList } from '../../../attest-server/wire/initrd-list.ts';
import { fileList, parseFileList } from '../../../attest-server/wire/loader-files.ts';
import {
  binaryFrame,
  parseAgentMessage,
  parseBinaryFrame,
  parseServerMessage,
  parseSupplementFrame,
  supplementFrame,
} from '../../../attest-server/wire/messages.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { ofAttacks, recordedFrames, recordings } from '../recordings.ts';
import { isMember, isRejection } from './refusals.ts';

const json = { kind: 'json', words: [...partNames] } as const;
const shapes = [
  'attest-server/wire/parse-json.ts',
  'attest-server/wire/shape-fault.ts',
  'attest-server/wire/prototype-key.ts',
];

export const agentMessage: FuzzedParser = {
  sources: ['attest-server/wire/messages.ts', 'attest-server/wire/shape-fault.ts'],
  form: json,
  most: 64 * 1024,
  seeds: () => recordedFrames('agent'),
  parse: (bytes) => parseAgentMessage(bytes.toString('utf8')),
  isDeclared: isRejection,
  isPastHeader: isMember('message'),
};

export const serverMessage: FuzzedParser = {
  ...agentMessage,
  seeds: () => recordedFrames('server'),
  parse: (bytes) => parseServerMessage(bytes.toString('utf8')),
};

export const binaryFrames: FuzzedParser = {
  sources: ['attest-server/wire/messages.ts'],
  form: { kind: 'big-endian' },
  most: 1024,
  seeds: () => [
    binaryFrame('joinToken', Buffer.from('id.secret')),
    binaryFrame('part', Buffer.from('assay/loader-files/1\n')),
    supplementFrame('initrds', Buffer.from('070701')),
  ],
  parse(bytes) {
    const frame = parseBinaryFrame(bytes);
    return frame.kind === 'supplement' ? parseSupplementFrame(frame.payload) : frame;
  },
  isDeclared: isRejection,
  isPastHeader: () => false,
};

export const facts: FuzzedParser = {
  sources: ['attest-server/wire/facts.ts', ...shapes],
  form: json,
  most: 64 * 1024,
  seeds: () => [
    ...ofAttacks((bundle) => [bundle.facts === undefined ? undefined : Buffer.from(bundle.facts)]),
    ...recordedFrames('agent').flatMap((frame) => {
      const message = parseAgentMessage(frame.toString('utf8'));
      return message.type === 'evidence' && message.facts !== undefined ? [Buffer.from(message.facts)] : [];
    }),
  ],
  parse: (bytes) => parseFacts(bytes.toString('utf8')),
  isDeclared: isRejection,
  isPastHeader: isMember('facts'),
};

export const bundle: FuzzedParser = {
  sources: ['attest-server/formats/bundle.ts', ...shapes],
  form: json,
  most: 96 * 1024,
  seeds: () => recordings('swtpm-fixtures/vectors/*/bundle.json'),
  parse: (bytes) => parseBundle(bytes.toString('utf8')),
  isDeclared: isRejection,
  isPastHeader: isMember('bundle'),
};

/** A bundle as `assay verify` judges it: everything behind the document too. It gives a verdict, whatever the bundle is. */
export const judgedBundle: FuzzedParser = {
  sources: [
    ...['verify', 'bundle-evidence', 'bundle-quotes', 'parts', 'listed-files', 'quote'].map(
      (name) => `attest-server/verify/${name}.ts`,
    ),
    ...['appraise', 'past', 'sequence'].map((name) => `attest-server/policy/${name}.ts`),
    'attest-server/cli/offline/verify/verify.ts',
    'attest-server/cli/offline/verify/endorsement-chain.ts',
  ],
  form: json,
  most: 96 * 1024,
  seeds: () => recordings('swtpm-fixtures/vectors/*/bundle.json'),
  parse: (bytes) => {
    const { verdict, rejected } = verifyBundle(bytes.toString('utf8'), { now: moment });
    if (rejected) throw new Refused(verdict.reasons[0]?.code ?? '', verdict.reasons[0]?.text ?? '');
    return verdict;
  },
  isDeclared: (error) => error instanceof Refused,
  isPastHeader: (error) => error instanceof Refused && error.code !== 'malformed',
};

const moment = Date.parse('2026-11-27T00:00:00Z');

/** A verdict that the bundle was refused. */
class Refused extends Error {
  readonly code: string;
  constructor(code: string, text: string) {
    super(text);
    this.code = code;
  }
}

export const loaderFileList: FuzzedParser = {
  sources: ['attest-server/wire/loader-files.ts', 'attest-server/wire/digest-lines.ts'],
  form: { kind: 'text' },
  most: 32 * 1024,
  seeds: () => [
    ...ofAttacks(({ parts }) => {
      const bytes = parts?.loaderFiles?.bytes;
      return [bytes === undefined ? undefined : Buffer.from(bytes, 'base64')];
    }),
    fileList(['ab'.repeat(32)]),
  ],
  parse: parseFileList,
  isDeclared: isRejection,
  isPastHeader: () => false,
};

export const initrdLists: FuzzedParser = {
  sources: ['attest-server/wire/initrd-list.ts', 'attest-server/wire/digest-lines.ts'],
  form: { kind: 'text' },
  most: 1024,
  seeds: () => [initrdList(['ab'.repeat(32), 'cd'.repeat(32)])],
  parse: parseInitrdList,
  isDeclared: isRejection,
  isPastHeader: () => false,
};

export const imaIndex: FuzzedParser = {
  sources: ['attest-server/wire/ima-pieces.ts'],
  form: { kind: 'text' },
  most: 64 * 1024,
  seeds: () => [Buffer.from(`assay/ima-pieces/1\n${'ab'.repeat(32)} 32768\n${'cd'.repeat(32)} 1048576\n`)],
  parse: parseImaIndex,
  isDeclared: isRejection,
  isPastHeader: (error) => isRejection(error) && error.message.includes('line'),
};

export const checkpoint: FuzzedParser = {
  sources: ['attest-server/wire/checkpoint.ts'],
  form: { kind: 'text' },
  most: 1024,
  seeds: () =>
    recordedFrames('server').flatMap((frame) => {
      const message = parseServerMessage(frame.toString('utf8'));
      return message.type === 'verdict' && message.checkpoint !== undefined
        ? [Buffer.from(message.checkpoint)]
        : [];
    }),
  parse: (bytes) => parseCheckpoint(bytes.toString('utf8')),
  isDeclared: isRejection,
  isPastHeader: () => false,
};
