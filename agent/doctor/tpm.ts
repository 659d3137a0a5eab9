import { hash } from 'node:crypto';
import { openTpm } from 'node-tpm2';
import { shellWord } from '../../attest-server/wire/advice.ts';
import { type Check, finding, okay } from '../../attest-server/wire/checks.ts';
import type { AgentConfig } from '../config.ts';
import { describeFault } from '../describe-fault.ts';
import { openBrokerTpm } from '../tpm-broker/client.ts';

/** Whether there is a TPM, which one, by whom it is asked, and whether its maker vouches for it. */
export async function checkTpm(
  { tcti, tpmBroker }: Pick<AgentConfig, 'tcti' | 'tpmBroker'>,
  node: string,
  signal: AbortSignal,
): Promise<readonly Check[]> {
  const way = tpmBroker === null ? tcti : `the broker at ${tpmBroker}`;
  try {
    const [about, { publicArea, certificate }] =
      tpmBroker === null ? await askTpm(tcti, signal) : await askBroker(tpmBroker, signal);
    const digest = hash('sha256', publicArea, 'hex');
    return [
      okay('TPM', `${about}, by ${way}; endorsement key ${digest}`),
      certificate === null
        ? finding(
            'TPM certificate',
            'warning',
            'this TPM has none, so no join token enrols it: approve its key, or pin it',
            `assay enrol approve ${shellWord(node)} --ek ${digest}`,
          )
        : okay('TPM certificate', `${certificate.length} bytes, from the TPM's own memory`),
    ];
  } catch (error) {
    const { code, text } = describeFault(error);
    return [finding('TPM', 'failed', `${way}: ${text}`, nextOf(code, tpmBroker !== null))];
  }
}

async function askTpm(tcti: string, signal: AbortSignal) {
  await using tpm = await openTpm({ tcti, signal });
  const { manufacturer, firmwareVersion, banks } = await tpm.readCapabilities();
  const about = `made by ${manufacturer}, firmware ${firmwareVersion}, banks ${banks.join(', ')}`;
  return [about, await tpm.readEndorsementKey()] as const;
}

async function askBroker(socket: string, signal: AbortSignal) {
  const tpm = openBrokerTpm(socket, { signal, timeoutMs: 20_000 });
  const { banks } = await tpm.readCapabilities();
  return [`banks ${banks.join(', ')}`, await tpm.readEndorsementKey()] as const;
}

function nextOf(code: string, isBroker: boolean): string {
  if (isBroker) return 'systemctl status assay-tpm-broker';
  return code === 'missing_program' ? 'apt install tpm2-tools' : 'ls -l /dev/tpm0 /dev/tpmrm0';
}
