import { hash } from 'node:crypto';
import { parseImaPolicy } from '../../../attest-server/formats/ima-policy.ts';
import { measuredTables } from '../../../attest-server/policy/disk/measured-tables.ts';
import { parseAppendedSignature } from '../../../attest-server/policy/runtime/appended-signature.ts';
import { signedBy } from '../../../attest-server/policy/runtime/signature.ts';
import { prepareSigners, signerFault } from '../../../attest-server/policy/runtime/signer-keys.ts';
import { ListCursor, openList } from '../../../attest-server/verify/ima/list-bytes.ts';
import { imaPcr } from '../../../attest-server/verify/ima/replay.ts';
import { madeProof, policyOf, verdictsBy } from '../../attest-server/policy/made-proof.ts';
import { entryOf, signatures } from '../../attest-server/policy/runtime/recorded-signatures.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';
import { isBeyond, isRejection } from './refusals.ts';

/** Where entries begin: PCR, digest of 20 bytes, the template's name and its data, each with its size. */
function entriesOf(bytes: Buffer): readonly number[] {
  const begins: number[] = [];
  for (let at = 0; at + 32 <= bytes.length; ) {
    const name = bytes.readUInt32LE(at + 24);
    const data = at + 28 + name;
    if (data + 4 > bytes.length) break;
    const end = data + 4 + bytes.readUInt32LE(data);
    if (end > bytes.length) break;
    begins.push(at);
    at = end;
  }
  return begins;
}

const most = 48 * 1024;
/** Bytes of a recording. */
const enough = 4 * 1024;
const binaries = () => [
  ...recordings(
    'swtpm-fixtures/recorded/ima-lists/*.bin',
    'swtpm-fixtures/recorded/quote-vm-critical-data/binary_runtime_measurements*',
  ).map((bytes) => bytes.subarray(0, wholeEntries(bytes))),
  ...signedLists(),
];

/** Recordings are long: their first entries hold all that later ones do. */
function wholeEntries(bytes: Buffer): number {
  return bytes.length <= enough ? bytes.length : (entriesOf(bytes).findLast((at) => at < enough) ?? 0);
}

/** What evmctl signed, as entries of the templates that carry it. */
function signedLists(): readonly Buffer[] {
  const u32 = (value: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  const sized = (bytes: Buffer) => Buffer.concat([u32(bytes.length), bytes]);
  const entry = (template: string, fields: readonly Buffer[]) => {
    const data = Buffer.concat(fields.map(sized));
    const head = [u32(imaPcr), hash('sha1', data, 'buffer'), sized(Buffer.from(template)), sized(data)];
    return Buffer.concat(head);
  };
  const digest = (algorithm: string, bytes: Buffer) => Buffer.concat([Buffer.from(`${algorithm}:\0`), bytes]);
  const name = Buffer.from('/usr/bin/program\0');
  return [
    ...signatures.files
      .slice(0, 6)
      .map((one) => entry('ima-sig', [digest(one.algorithm, one.digest), name, one.signature])),
    ...signatures.appended
      .slice(0, 3)
      .map((one) =>
        entry('ima-modsig', [
          digest('sha256', Buffer.alloc(32, 1)),
          name,
          Buffer.alloc(0),
          digest(one.algorithm, one.digest),
          one.signature,
        ]),
      ),
  ];
}

const keys = prepareSigners(
  Object.values(signatures.keys)
    .map(({ publicKey }) => publicKey)
    .filter((text) => signerFault(text) === null),
);
const sources = ['entry', 'list-bytes', 'template', 'mappings', 'replay', 'prove-list', 'boot-aggregate'].map(
  (name) => `attest-server/verify/ima/${name}.ts`,
);

/** The list as a quote confirms it up to its first fault, and what is asked of each entry. */
function proven(bytes: Buffer) {
  const { head, fault } = replayed(bytes);
  const values = Buffer.alloc(24 * 32, 7);
  head.copy(values, imaPcr * 32);
  const proof = madeProof({ values, ima: bytes });
  const { ima } = proof;
  if (ima !== null && 'walk' in ima) {
    ima.walk((entry) => {
      const { name, nameBytes, digest, evm, data } = entry;
      return [name, nameBytes, digest, evm, data, signedBy(entry, keys)];
    });
    measuredTables(ima);
  }
  return { proof, fault };
}

/** PCR 10 of the bank SHA-256 after all entries that can be read. */
function replayed(bytes: Buffer): { readonly head: Buffer; readonly fault: unknown } {
  let head: Buffer = Buffer.alloc(32);
  try {
    const opening = openList([bytes], null);
    let step = opening.next();
    while (step.done !== true) step = opening.next();
    const cursor = new ListCursor(step.value, 0, 0);
    while (cursor.next()) {
      const { entry } = cursor;
      const extended = entry.isViolation ? Buffer.alloc(32, 0xff) : hash('sha256', entry.hashed(), 'buffer');
      if (entry.pcr === imaPcr) head = hash('sha256', Buffer.concat([head, extended]), 'buffer');
      entry.parse();
      entry.check();
    }
    return { head, fault: null };
  } catch (fault) {
    if (!isRejection(fault)) throw fault;
    return { head, fault };
  }
}

export const imaBinary: FuzzedParser = {
  sources: [...sources, 'attest-server/policy/disk/measured-tables.ts'],
  form: { kind: 'little-endian', records: entriesOf, words: ['dm_table_load', 'dm_device_resume'] },
  most,
  seeds: binaries,
  parse: (bytes) => {
    const { fault } = proven(bytes);
    if (fault !== null) throw fault;
  },
  isDeclared: isRejection,
  isPastHeader: isBeyond(32),
};

export const imaAscii: FuzzedParser = {
  ...imaBinary,
  sources: ['attest-server/verify/ima/ascii-form.ts', ...sources],
  form: { kind: 'text', words: ['ima-ng', 'ima-sig', 'ima-buf', 'ima-modsig', 'd-ng|n-ng', 'sha256:'] },
  seeds: () =>
    recordings(
      'swtpm-fixtures/recorded/ima-lists/*.txt',
      'swtpm-fixtures/recorded/quote-vm-critical-data/ascii_runtime_measurements',
    ).map((bytes) =>
      bytes.length <= enough ? bytes : bytes.subarray(0, bytes.lastIndexOf(0x0a, enough) + 1),
    ),
};

/** The list as the policy judges it. */
export const judgedList: FuzzedParser = {
  ...imaBinary,
  sources: ['findings', 'judge-tally', 'policy-in-force', 'runtime', 'sort-entry', 'tally', 'memory'].map(
    (name) => `attest-server/policy/runtime/${name}.ts`,
  ),
  parse: (bytes) => {
    const { proof, fault } = proven(bytes);
    judging(proof, { name: 'worker' }, moment);
    if (fault !== null) throw fault;
  },
};

const policy = policyOf('require: [identity, runtime]', 'runtime: {exclude: ["/var/**"], deny: ["/tmp/**"]}');
const judging = verdictsBy(policy, [], { remembers: false });
const moment = Date.parse('2026-11-27T00:00:00Z');

/** Signatures as files carry them: security.ima, security.evm, and PKCS#7 behind a file. */
export const imaSignature: FuzzedParser = {
  sources: ['signature', 'appended-signature', 'ecdsa', 'rsa'].map(
    (name) => `attest-server/policy/runtime/${name}.ts`,
  ),
  form: { kind: 'der' },
  most: 8 * 1024,
  seeds: () => [
    ...signatures.files.map(({ signature }) => signature),
    ...signatures.appended.map(({ signature }) => signature),
    ...signatures.portable.map(({ evm }) => evm),
  ],
  parse: (bytes) => {
    const [file] = signatures.files;
    const digest = file?.digest ?? Buffer.alloc(32);
    const evm = {
      signature: bytes,
      attributes: [{ name: 'security.ima', value: bytes }],
      uid: 0,
      gid: 0,
      mode: 33261,
    };
    return [
      parseAppendedSignature(bytes),
      signedBy(entryOf({ digest, signature: bytes }), keys),
      signedBy(entryOf({ digest, signature: null, template: 'evm-sig', evm }), keys),
      signedBy(
        entryOf({
          digest,
          template: 'ima-modsig',
          appended: { signature: bytes, algorithm: 'sha256', digest },
        }),
        keys,
      ),
    ];
  },
  isDeclared: () => false,
  isPastHeader: () => false,
};

/** A key or certificate in the policy file: a text that is none is told as a fault of it. */
export const signerKey: FuzzedParser = {
  sources: ['attest-server/policy/runtime/signer-keys.ts'],
  form: { kind: 'text' },
  most: 8 * 1024,
  seeds: () =>
    Object.values(signatures.keys).flatMap(({ publicKey, certificate }) => [
      Buffer.from(publicKey),
      Buffer.from(certificate),
      Buffer.from(publicKey.replace(/-----[^-]+-----|\s/g, '')),
    ]),
  parse: (bytes) => {
    const text = bytes.toString('utf8');
    return signerFault(text) === null ? prepareSigners([text]) : null;
  },
  isDeclared: () => false,
  isPastHeader: () => false,
};

export const imaPolicy: FuzzedParser = {
  sources: ['attest-server/formats/ima-policy.ts'],
  form: {
    kind: 'text',
    words: [
      'measure',
      'dont_measure',
      'func=BPRM_CHECK',
      'func=FILE_MMAP',
      'mask=MAY_EXEC',
      'fsmagic=0x9fa0',
      'uid=0',
      'pcr=11',
    ],
  },
  most: 16 * 1024,
  seeds: () => [
    Buffer.from(
      '# tcb, as a file\ndont_measure fsmagic=0x9fa0\ndont_measure fsmagic=0x62656572 func=FILE_CHECK\nmeasure func=MMAP_CHECK mask=MAY_EXEC\nmeasure func=BPRM_CHECK mask=MAY_EXEC\nmeasure func=FILE_CHECK mask=^MAY_READ euid=0\nmeasure func=MODULE_CHECK\nmeasure func=POLICY_CHECK template=ima-sig\nmeasure func=CRITICAL_DATA label=device-mapper\nappraise func=BPRM_CHECK appraise_type=imasig\n',
    ),
  ],
  parse: (bytes) => parseImaPolicy(bytes.toString('utf8')),
  isDeclared: isRejection,
  isPastHeader: isBeyond(16),
};
