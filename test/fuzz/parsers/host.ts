import { ToolError } from 'node-tpm2/run';
import { ZodError } from 'zod';
import { AgentError } from '../../../agent/agent-error.ts';
import { parseListening, socketText } from '../../../agent/collectors/listening.ts';
import { parseOptionPorts } from '../../../agent/collectors/ssh.ts';
import { parseSocketUnit } from '../../../agent/collectors/ssh-sockets.ts';
import { parseSshdConfig } from '../../../agent/collectors/sshd-config.ts';
import { parseHealth } from '../../../agent/health/ask-health.ts';
import { parseJoinToken } from '../../../agent/join-token.ts';
import { faultLine, parseSaid } from '../../../agent/netfilter/messages.ts';
import { NetfilterFault } from '../../../agent/netfilter/netfilter-fault.ts';
import { parseFailedCommand, parseResponseCode } from '../../../agent/node-tpm2/response-code.ts';
import { parseRequest } from '../../../agent/tpm-broker/requests.ts';
import { parseNode } from '../../../attest-server/kubernetes/node.ts';
import { textIn } from '../../../manifests/cloud/aws/xml.ts';
import { digestOfArea, digestOfPem } from '../../../manifests/cloud/ek-digest.ts';
import { CloudFault } from '../../../manifests/cloud/lookup.ts';
import type { FuzzedParser } from '../fuzzed-parser.ts';
import { recordings } from '../recordings.ts';

const never = () => false;
/** A plain one, which names the line of a file. */
const isPlainError = (error: unknown) =>
  error instanceof Error && Object.getPrototypeOf(error) === Error.prototype;

export const sshConfig: FuzzedParser = {
  sources: ['ssh', 'ssh-sockets', 'sshd-config', 'ssh-ports'].map((name) => `agent/collectors/${name}.ts`),
  form: { kind: 'text' },
  most: 16 * 1024,
  seeds: () => recordings('test/fuzz/seeds/ssh/*'),
  parse: (bytes) => {
    const text = bytes.toString('latin1');
    parseOptionPorts(text);
    if (text.includes('[Socket]')) return parseSocketUnit(text, 'ssh.socket');
    return parseSshdConfig(text, 'sshd_config');
  },
  isDeclared: isPlainError,
  isPastHeader: (error) => error instanceof Error && /line/.test(error.message),
};

export const listening: FuzzedParser = {
  sources: ['agent/collectors/listening.ts'],
  form: { kind: 'text', words: ['0A', '01', '00000000:0016'] },
  most: 16 * 1024,
  seeds: () => recordings('test/fuzz/seeds/sockets/*'),
  parse: (bytes) => {
    const text = bytes.toString('latin1');
    return parseListening(text, text.includes('remote_address') ? 6 : 4).map(socketText);
  },
  isDeclared: isPlainError,
  isPastHeader: (error) => error instanceof Error && /line (?:[2-9]|\d\d)/.test(error.message),
};

/** What programs on a node say to each other at Unix sockets: requests to the TPM broker, answers of netfilter and of probes. */
export const localMessages: FuzzedParser = {
  sources: ['agent/tpm-broker/requests.ts', 'agent/netfilter/messages.ts', 'agent/health/ask-health.ts'],
  form: { kind: 'json', words: ['sha256', 'sha384', 'quote', 'activate'] },
  most: 8 * 1024,
  seeds: () => [
    ...[
      {
        verb: 'quote',
        qualifyingData: Buffer.alloc(32, 1).toString('base64'),
        selection: { sha256: [0, 1, 7, 23] },
      },
      { verb: 'readPCRs', selection: { sha1: [0], sha384: [10] } },
      { verb: 'readPublic' },
      {
        verb: 'activate',
        credential: Buffer.alloc(70, 1).toString('base64'),
        secret: Buffer.alloc(258, 2).toString('base64'),
      },
      { isAlive: true, isReady: false, text: 'no answer of the server yet' },
    ].map((value) => Buffer.from(JSON.stringify(value))),
    ...['moved', 'rules 100', faultLine(new NetfilterFault('locked', 'busy')).trimEnd()].map((text) =>
      Buffer.from(text),
    ),
  ],
  parse: (bytes) => {
    const text = bytes.toString('utf8');
    parseHealth(text);
    return /^(?:moved|rules|fault)/.test(text) ? parseSaid(text, 4096) : parseRequest(bytes);
  },
  isDeclared: (error) => error instanceof ToolError || error instanceof NetfilterFault,
  isPastHeader: (error) => error instanceof Error && !/^request/.test(error.message),
};

export const joinToken: FuzzedParser = {
  sources: ['agent/join-token.ts'],
  form: { kind: 'text' },
  most: 4096,
  seeds: () => [Buffer.from(`assay-join.v1.a1B2.${'A'.repeat(43)}.${'ab'.repeat(32)}\n`)],
  parse: (bytes) => parseJoinToken(bytes.toString('utf8')),
  isDeclared: (error) => error instanceof AgentError,
  isPastHeader: never,
};

/** What tpm2-tools print where a command failed. */
export const toolOutput: FuzzedParser = {
  sources: ['agent/node-tpm2/response-code.ts'],
  form: { kind: 'text' },
  most: 8 * 1024,
  seeds: () =>
    [
      'WARNING:esys:src/tss2-esys/api/Esys_ContextLoad.c:279:Esys_ContextLoad_Finish() Received TPM Error \nERROR:esys:src/tss2-esys/api/Esys_ContextLoad.c:93:Esys_ContextLoad() Esys Finish ErrorCode (0x000001df) \nERROR: Esys_ContextLoad(0x1DF) - tpm:parameter(1):integrity check failed\n',
      'ERROR:tcti:src/tss2-tcti/tcti-device.c:442:Tss2_Tcti_Device_Init() Failed to open TPM device file /dev/tpmrm0 (0x000a0008)\n',
    ].map((text) => Buffer.from(text)),
  parse: (bytes) => [parseFailedCommand(bytes.toString('utf8')), parseResponseCode(bytes.toString('utf8'))],
  isDeclared: never,
  isPastHeader: never,
};

/** Answers of clouds about a machine's TPM. */
export const cloudAnswers: FuzzedParser = {
  sources: ['manifests/cloud/aws/xml.ts', 'manifests/cloud/ek-digest.ts'],
  form: { kind: 'text', words: ['keyValue', 'Code', 'ekPub'] },
  most: 16 * 1024,
  seeds: () =>
    recordings('swtpm-fixtures/recorded-clouds/*.xml', 'swtpm-fixtures/recorded-clouds/gce-identity.json'),
  parse: (bytes) => {
    const text = bytes.toString('utf8');
    textIn(text, 'Code');
    if (!text.startsWith('{'))
      return digestOfArea('the cloud', Buffer.from(textIn(text, 'keyValue') ?? '', 'base64'));
    const pem = /-----BEGIN[^"]*/.exec(text)?.[0] ?? '';
    return digestOfPem('the cloud', pem.replaceAll('\\n', '\n'));
  },
  isDeclared: (error) => error instanceof CloudFault,
  isPastHeader: () => true,
};

/** A Node of a cluster, as its API gives it. */
export const clusterNode: FuzzedParser = {
  sources: ['attest-server/kubernetes/node.ts'],
  form: { kind: 'json' },
  most: 32 * 1024,
  seeds: () => [
    Buffer.from(
      JSON.stringify({
        metadata: {
          name: 'worker-1',
          uid: '0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0',
          resourceVersion: '4711',
          labels: { 'kubernetes.io/hostname': 'worker-1' },
          creationTimestamp: '2026-11-25T00:00:00Z',
        },
        spec: {
          providerID: 'gce://project/zone/worker-1',
          taints: [
            { key: 'assay.dev/untrusted', value: 'kernel_unknown', effect: 'NoSchedule', timeAdded: null },
          ],
        },
        status: {
          conditions: [{ type: 'Ready', status: 'True', reason: 'KubeletReady', lastTransitionTime: null }],
          nodeInfo: { systemUUID: '0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0' },
        },
      }),
    ),
  ],
  parse: (bytes) => parseNode(JSON.parse(bytes.toString('utf8'))),
  // The client of the API has read it before.
  isDeclared: (error) => error instanceof ZodError || error instanceof SyntaxError,
  isPastHeader: (error) => error instanceof ZodError && error.issues.some(({ path }) => path.length > 1),
};
