import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { buildConfig, ConfigError } from '../../agent/config.ts';
import { nodeName } from '../../attest-server/protocol/messages.ts';

const good = {
  ASSAY_SERVERS: 'assay.example:8443',
  ASSAY_NODE: 'node-1',
  ASSAY_CA_FILE: '/etc/assay/ca.pem',
};

function faultsOf(file: unknown, environment: Record<string, string>): readonly string[] {
  try {
    buildConfig(file, environment);
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
      stateDir: '/var/lib/assay-agent',
      caFile: '/etc/assay/ca.pem',
      joinTokenFile: null,
      sysroot: '/',
      logLevel: 'info',
    });
  });

  it('names every fault at once with its key and variable', () => {
    const file = {
      servers: ['a', 'b:1'],
      node: 'Node_1',
      tcti: 'tpm',
      sysroot: 7,
      logLevel: 'loud',
      nodes: 1,
    };
    assert.deepEqual(faultsOf(file, {}).toSorted(), [
      'caFile (ASSAY_CA_FILE)',
      'logLevel (ASSAY_LOG_LEVEL)',
      'node (ASSAY_NODE)',
      'nodes',
      'servers (ASSAY_SERVERS)',
      'sysroot (ASSAY_SYSROOT)',
      'tcti (ASSAY_TCTI)',
    ]);
  });

  it('names what is missing', () => {
    assert.deepEqual(faultsOf(null, {}), [
      'servers (ASSAY_SERVERS)',
      'node (ASSAY_NODE)',
      'caFile (ASSAY_CA_FILE)',
    ]);
  });

  it('takes a variable before the file', () => {
    assert.equal(buildConfig({ node: 'from-file' }, good).node, 'node-1');
  });

  for (const [text, host, port] of [
    ['10.0.0.1:1', '10.0.0.1', 1],
    ['[2001:db8::1]:65535', '2001:db8::1', 65_535],
  ] as const)
    it(`reads the address ${text}`, () => {
      assert.deepEqual(buildConfig(null, { ...good, ASSAY_SERVERS: text }).servers, [{ host, port }]);
    });

  for (const text of ['a', 'a:', 'a:0', 'a:65536', 'a:1/x', 'https://a:1', '::1:1', 'a b:1', '-a:1', ','])
    it(`refuses the address ${JSON.stringify(text)}`, () => {
      assert.deepEqual(faultsOf(null, { ...good, ASSAY_SERVERS: text }), ['servers (ASSAY_SERVERS)']);
    });

  it('takes exactly the node names that the protocol takes', () => {
    const letters = fc.constantFrom('a', 'Z', '0', '-', '.', '_', '\n', 'ä');
    fc.assert(
      fc.property(fc.array(letters, { minLength: 1, maxLength: 8 }), (parts) => {
        const name = parts.join('');
        const isTaken = faultsOf(null, { ...good, ASSAY_NODE: name }).length === 0;
        assert.equal(isTaken, nodeName.safeParse(name).success);
      }),
    );
  });

  it('takes any file without another error than its own', () => {
    fc.assert(fc.property(fc.anything(), (file) => Array.isArray(faultsOf(file, good))));
  });
});
