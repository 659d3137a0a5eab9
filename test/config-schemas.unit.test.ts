import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { z } from 'zod';
import { agentValues } from '../agent/config.ts';
import { gateValues } from '../agent/gate/config.ts';
import { serverValues } from '../attest-server/config.ts';
import { ConfigError } from '../attest-server/settings/config-error.ts';
import { parseConfigFile } from '../attest-server/settings/config-file.ts';
import type { ConfigFile } from '../attest-server/settings/settings.ts';

const root = join(import.meta.dirname, '..');

interface Published {
  readonly file: string;
  readonly resolve: (file: ConfigFile) => unknown;
  /** What the file has of keys that the program wants and no variable gives here. */
  readonly needed: Readonly<Record<string, unknown>>;
  readonly good: readonly object[];
  readonly bad: readonly object[];
  /** What only the program refuses: a schema compares no two keys, and parses no address. */
  readonly contradictory: readonly object[];
  /** What the program takes as text, as from a variable; an editor marks it. */
  readonly asText: readonly object[];
}

const servers = {
  good: [
    { servers: ['a.example:8443', '10.0.0.1:1', '[2001:db8::1]:65535', 'a:00443'] },
    { servers: 'a.example:8443' },
    { node: 'worker-1.example' },
    { tcti: 'swtpm:path=/run/tpm' },
    { logLevel: 'debug' },
    { sysroot: '/host' },
  ],
  bad: [
    ...['a', 'a:', 'a:0', 'a:00000', 'a:65536', 'a:1/x', 'https://a:1', '::1:1', 'a b:1', '-a:1'].map(
      (address) => ({ servers: [address] }),
    ),
    { servers: [] },
    { servers: Array.from({ length: 17 }, () => 'a:1') },
    { servers: [7] },
    { servers: null },
    { node: 'Node-1' },
    { node: 'a..b' },
    { node: 'a'.repeat(254) },
    { tcti: 'tpm' },
    { stateDir: '' },
    { sysroot: 7 },
    { logLevel: 'loud' },
    { logLevel: null },
    { nodes: 'a' },
  ],
};

const published: readonly Published[] = [
  {
    file: 'attest-server/config.schema.json',
    resolve: (file) => serverValues({ file, environment: {}, flags: {} }),
    needed: {},
    good: [
      {},
      { agentPort: 0, apiPort: 65_535, host: '::', names: ['a.example', '10.0.0.1'] },
      { names: 'a.example, b.example' },
      { endorsementRoots: 'none' },
      { endorsementRoots: ['builtin', '/etc/roots'] },
      { cloudProgram: '/opt/ek-of' },
      { cloudProgram: null },
      { kubernetes: { api: 'pod', namespace: null, agentAccount: 'a/b', agentTokens: 'nodes' } },
      { kubernetes: {} },
      { marks: { pendingTaint: 'startup-taint.cluster-autoscaler.kubernetes.io/assay-pending' } },
      { breaker: { onExpiry: 'taint', refusePolicyPercent: 100 } },
      { gone: { archiveDays: 0.5 } },
      // Of 0.3.0, which say nothing any more.
      { helloWithinSeconds: 10, gone: { afterSeconds: 'whatever' } },
      ...[
        'https://receiver.example/assay?team=1',
        'https://[::1]/',
        'http://[::1]:9/',
        'http://127.0.0.1',
      ].map((url) => ({ webhook: { url, secretFile: '/s' } })),
      { webhook: { url: null, secretFile: null } },
      { challengeEverySeconds: 0.5, unknownAfterSeconds: 86_400 },
      { metrics: { perNode: false }, approvals: { separate: true } },
      { sources: { connections: 1_000_000, connectionsPerSecond: 1 }, firstUsePerSource: 0 },
      { imaListMiB: 256, nodeDiskMiB: 1024 },
      { initrdUploads: 16, initrdManifestsMiB: 4096 },
    ],
    bad: [
      ...[-1, 65_536, 1.5, true, null, [], 'x'].map((agentPort) => ({ agentPort })),
      { host: '' },
      { host: 7 },
      { names: [] },
      { names: ['a b'] },
      { names: [7] },
      { endorsementRoots: [] },
      { endorsementRoots: [''] },
      { cloudProgram: 'ek-of' },
      { kubernetes: true },
      { kubernetes: null },
      { kubernetes: { namespace: 'A' } },
      { kubernetes: { agentAccount: 'a/b/c' } },
      { kubernetes: { agentTokens: 'sometimes' } },
      { kubernetes: { operatorAudience: 'a b' } },
      { kubernetes: { port: 0.5 } },
      { kubernetes: { apis: 'pod' } },
      { 'kubernetes.api': 'pod' },
      { marks: { pendingTaint: 'a/b/c' } },
      { marks: { ownNode: 'A' } },
      { breaker: { onExpiry: 'wait' } },
      { breaker: { refusePolicyPercent: 101 } },
      { breaker: { refusePolicyPercent: -1 } },
      { gone: { archiveDays: 0 } },
      ...[
        'http://receiver.example/',
        'http://127.0.0.1.example/',
        'ftp://receiver.example/',
        'https://user:secret@receiver.example/',
        'https://a.example/#b',
        'receiver',
      ].map((url) => ({ webhook: { url, secretFile: '/s' } })),
      { webhook: { secret: 'x' } },
      { challengeEverySeconds: 0 },
      { evidenceDays: 36_501 },
      { firstUsePerSource: -1 },
      { metrics: { perNode: 'perhaps' } },
      { sources: { unprovenMiB: 257 } },
      { imaListMiB: 0 },
      { imaListMiB: 257 },
      { nodeDiskMiB: 0 },
      { initrdUploads: 0 },
      { initrdUploads: 17 },
      { initrdManifestsMiB: 0 },
      { logLevel: 'loud' },
      { statedir: '/x' },
    ],
    contradictory: [
      { challengeEverySeconds: 60, unknownAfterSeconds: 30 },
      { evidenceDays: 60, transitionEvidenceDays: 30 },
      { marks: { pendingTaint: 'a/b', untrustedTaint: 'a/b' } },
      { webhook: { url: 'https://a.example/' } },
      { webhook: { url: 'https://a.example:70000/', secretFile: '/s' } },
      { endorsementRoots: ['none', 'builtin'] },
      { sources: { connections: 100, connectionsPerSecond: 64 } },
      { names: ',' },
    ],
    asText: [{ agentPort: '8443' }, { metrics: { perNode: 'yes' } }, { evidenceDays: '30' }],
  },
  {
    file: 'agent/config.schema.json',
    resolve: (file) => agentValues({ file, environment: {}, flags: {} }),
    needed: { servers: ['a:1'], node: 'a', caFile: '/ca.crt' },
    good: [...servers.good, { clusterTokenFile: null }, { watch: false }, { tpmBroker: '/run/tpm.sock' }],
    bad: [...servers.bad, { watch: 'perhaps' }, { caFile: 7 }, { timeout: 5 }],
    contradictory: [{ caFile: null }, { servers: ':' }],
    asText: [{ watch: 'yes' }],
  },
  {
    file: 'agent/gate/config.schema.json',
    resolve: (file) => gateValues({ file, environment: {}, flags: {} }),
    needed: { servers: ['a:1'], node: 'a', caFile: '/ca.crt' },
    good: [...servers.good, { timeout: 1 }, { timeout: null }],
    bad: [
      ...servers.bad,
      { timeout: 0 },
      { timeout: 86_401 },
      { openFile: '' },
      { watch: true },
      { caFile: null },
    ],
    contradictory: [{ servers: ':' }],
    asText: [{ timeout: '5' }],
  },
];

for (const { file, resolve, needed, good, bad, contradictory, asText } of published)
  describe(file, () => {
    const text = readFileSync(join(root, file), 'utf8');
    const schema = z.fromJSONSchema(z.record(z.string(), z.unknown()).parse(JSON.parse(text)));
    const isTaken = (example: object) => {
      const parsed = parseConfigFile(JSON.stringify({ ...needed, ...example }), 'a.yaml');
      try {
        resolve(parsed);
        return true;
      } catch (error) {
        if (error instanceof ConfigError) return false;
        throw error;
      }
    };

    for (const example of good)
      it(`takes ${JSON.stringify(example)}, as the program does`, () =>
        assert.deepEqual([schema.safeParse(example).success, isTaken(example)], [true, true]));

    for (const example of bad)
      it(`refuses ${JSON.stringify(example).slice(0, 80)}, as the program does`, () =>
        assert.deepEqual([schema.safeParse(example).success, isTaken(example)], [false, false]));

    for (const example of contradictory)
      it(`leaves ${JSON.stringify(example)} to the program, which refuses it`, () =>
        assert.deepEqual([schema.safeParse(example).success, isTaken(example)], [true, false]));

    for (const example of asText)
      it(`marks ${JSON.stringify(example)}, which the program takes`, () =>
        assert.deepEqual([schema.safeParse(example).success, isTaken(example)], [false, true]));

    it('says of each key what it is for', () => {
      const undescribed = keysIn(JSON.parse(text)).filter(({ value }) => !('description' in value));
      assert.deepEqual(
        undescribed.map(({ key }) => key),
        [],
      );
    });

    // Helm reads draft 7 in all its versions, and Go's expressions, which cannot look around or back.
    it('is one that Helm can read', () => {
      assert.match(text, /"\$schema": "http:\/\/json-schema\.org\/draft-07\/schema#"/);
      assert.doesNotMatch(text, /"pattern": .*(\(\?[^:]|\\\\[1-9bBkpP])/);
    });
  });

interface Key {
  readonly key: string;
  readonly value: object;
}

/** All that stand for a value. */
function keysIn(schema: unknown): readonly Key[] {
  const properties: unknown = Reflect.get(Object(schema), 'properties');
  return Object.entries(Object(properties)).flatMap(([key, value]) => {
    const inner = keysIn(value);
    return inner.length > 0 ? inner : [{ key, value: Object(value) }];
  });
}
