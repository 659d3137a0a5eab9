import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { netfilterConfig } from '../../../agent/netfilter/config.ts';
import { brokerConfig } from '../../../agent/tpm-broker/config.ts';
import { ConfigError } from '../../../attest-server/settings/config-error.ts';

describe('the configuration of netfilter', () => {
  it('is read as that of every program: flags win, and an empty variable is none', () => {
    const given = {
      ASSAY_NETFILTER_SOCKET: '/run/one.sock',
      ASSAY_NETFILTER_HEALTH_SOCKET: '',
      ASSAY_NETFILTER_NETNS: '',
      ASSAY_NETFILTER_LOG_LEVEL: '',
    };
    const { socket, ...others } = netfilterConfig(given, { socket: '/run/two.sock' });
    assert.equal(socket, '/run/two.sock');
    assert.deepEqual({ socket: netfilterConfig({}, {}).socket, ...others }, netfilterConfig({}, {}));
    const empty = { ASSAY_TPM_BROKER_HEALTH_SOCKET: '', ASSAY_TPM_BROKER_LOG_LEVEL: '' };
    assert.deepEqual(brokerConfig(empty, {}), brokerConfig({}, {}));
  });

  it('is refused with every fault at once', () => {
    const faulty = { ASSAY_NETFILTER_SOCKET: 'a\0b', ASSAY_NETFILTER_LOG_LEVEL: 'loud' };
    assert.throws(
      () => netfilterConfig(faulty, {}),
      (error) =>
        error instanceof ConfigError && error.faults.map(({ key }) => key).join() === 'logLevel,socket',
    );
  });
});
