import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { agentSettings, buildConfig } from '../../agent/config.ts';
import { serverSettings } from '../../attest-server/config.ts';
import { ConfigError } from '../../attest-server/settings/config-error.ts';
import { parseConfigFile } from '../../attest-server/settings/config-file.ts';

const good = {
  ASSAY_AGENT_SERVERS: 'assay.example:8443',
  ASSAY_AGENT_NODE: 'node-1',
  ASSAY_AGENT_CA_FILE: '/etc/assay/ca.pem',
};

const fileOf = (value: unknown) => parseConfigFile(JSON.stringify(value), 'agent.yaml');

function keysOf(file: object | null, environment: Record<string, string>): readonly (string | null)[] {
  try {
    buildConfig(file === null ? null : fileOf(file), environment);
  } catch (error) {
    assert(error instanceof ConfigError);
    return error.faults.map(({ key }) => key);
  }
  return [];
}

describe("an agent's configuration", () => {
  it('has defaults for all but servers, node and trust', () => {
    assert.deepEqual(buildConfig(null, good), {
      servers: [{ host: 'assay.example', port: 8443 }],
      node: 'node-1',
      tcti: 'device:/dev/tpmrm0',
      tpmBroker: null,
      stateDir: '/var/lib/assay-agent',
      caFile: '/etc/assay/ca.pem',
      netfilter: null,
      joinTokenFile: null,
      clusterTokenFile: null,
      sysroot: '/',
      watch: true,
      healthSocket: null,
      logLevel: 'info',
    });
  });

  it('names every fault at once', () => {
    const file = {
      servers: ['a', 'b:1'],
      node: 'Node_1',
      tcti: 'tpm',
      sysroot: 7,
      logLevel: 'loud',
      nodes: 1,
    };
    assert.deepEqual(keysOf(file, {}).toSorted(), [
      'caFile',
      'logLevel',
      'node',
      'nodes',
      'servers',
      'sysroot',
      'tcti',
    ]);
  });

  it('names what is missing, each once', () => {
    assert.deepEqual(keysOf(null, {}), ['servers', 'node', 'caFile']);
    assert.deepEqual(keysOf(null, { ...good, ASSAY_AGENT_CA_FILE: '\0' }), ['caFile']);
  });

  it('takes a variable before the file, and a flag before both', () => {
    assert.equal(buildConfig(fileOf({ node: 'from-file' }), good).node, 'node-1');
    assert.equal(buildConfig(fileOf({ node: 'from-file' }), good, { node: 'from-flag' }).node, 'from-flag');
  });

  it('is not read from the names that 0.3.0 still took', () => {
    const former = { ASSAY_SERVERS: 'old.example:1', ASSAY_NODE: 'node-2', ASSAY_CA_FILE: '/old.pem' };
    assert.deepEqual(keysOf(null, former), ['servers', 'node', 'caFile']);
  });

  it('has variables that mean nothing to the server and the command', () => {
    const others = new Set<string>(Object.values(serverSettings).map(({ variable }) => variable));
    for (const name of ['ASSAY_SERVER', 'ASSAY_TOKEN_FILE', 'ASSAY_CA_FILE']) others.add(name);
    const its = Object.values(agentSettings).map(({ variable }) => variable);
    assert.deepEqual(
      its.filter((name) => others.has(name) || !name.startsWith('ASSAY_AGENT_')),
      [],
    );
  });

  it('makes paths absolute', () => {
    assert.equal(buildConfig(null, { ...good, ASSAY_AGENT_STATE_DIR: 'state' }).stateDir, resolve('state'));
  });

  for (const [text, host, port] of [
    ['10.0.0.1:1', '10.0.0.1', 1],
    ['[2001:db8::1]:65535', '2001:db8::1', 65_535],
  ] as const)
    it(`reads the address ${text}`, () => {
      assert.deepEqual(buildConfig(null, { ...good, ASSAY_AGENT_SERVERS: text }).servers, [{ host, port }]);
    });

  for (const text of ['a', 'a:', 'a:0', 'a:65536', 'a:1/x', 'https://a:1', '::1:1', 'a b:1', '-a:1', ','])
    it(`refuses the address ${JSON.stringify(text)}`, () => {
      assert.deepEqual(keysOf(null, { ...good, ASSAY_AGENT_SERVERS: text }), ['servers']);
    });

  for (const text of ['Node-1', 'a_b', 'node-1\n', '-a', 'a..b', 'a'.repeat(254)])
    it(`refuses the node name ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.deepEqual(keysOf(null, { ...good, ASSAY_AGENT_NODE: text }), ['node']);
    });

  it('takes any file without another error than its own', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (file) => Array.isArray(keysOf(file, good))),
    );
  });
});
