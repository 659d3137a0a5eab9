import { type Credential, openTpm, type PcrSelection, type Tpm } from 'node-tpm2';
import type { Answers } from './messages.ts';
import { type CheckedRequest, encodeValues } from './requests.ts';

/** The verbs that the broker offers to others, on the TPM that it holds. */
export interface Verbs {
  /** Opens the TPM where it is not open. @throws ToolError */
  open(): Promise<void>;
  /** Whether it was there when it was last looked for. */
  isOpen(): boolean;
  /** A Buffer is the secret of an activation: the caller wipes it. @throws ToolError */
  run(request: CheckedRequest): Promise<Answers[keyof Answers] | Buffer>;
  close(): Promise<void>;
}

/** The verbs on the TPM at this TCTI. It is opened when it is first needed, and looked for again where it was missing. */
export function openVerbs(tcti: string, signal: AbortSignal): Verbs {
  let opened: Promise<Tpm> | null = null;
  let isOpen = false;
  const tpm = () => {
    if (opened === null) {
      const attempt = openTpm({ tcti, signal });
      opened = attempt;
      attempt.then(
        () => {
          isOpen = true;
        },
        () => {
          if (opened === attempt) opened = null;
        },
      );
    }
    return opened;
  };
  return {
    async open() {
      await tpm();
    },
    isOpen: () => isOpen,
    async run(request) {
      return runVerb(await tpm(), request);
    },
    async close() {
      const attempt = opened;
      opened = null;
      isOpen = false;
      await (await attempt?.catch(() => null))?.close();
    },
  };
}

async function runVerb(tpm: Tpm, request: CheckedRequest): Promise<Answers[keyof Answers] | Buffer> {
  switch (request.verb) {
    case 'quote': {
      const { qualifyingData, selection } = request;
      const quote = await tpm.quote({ qualifyingData, selection: selection satisfies PcrSelection });
      return {
        attest: quote.attest.toString('base64'),
        signature: quote.signature.toString('base64'),
        pcrs: encodeValues(quote.pcrs),
      };
    }
    case 'readPCRs':
      return { pcrs: encodeValues(await tpm.readPcrs(request.selection)) };
    case 'readPublic': {
      const [ek, ak, { banks }] = await Promise.all([
        tpm.readEndorsementKey(),
        tpm.createAttestationKey(),
        tpm.readCapabilities(),
      ]);
      return {
        ek: { publicArea: ek.publicArea.toString('base64') },
        ak: { publicArea: ak.publicArea.toString('base64'), name: ak.name },
        banks: [...banks],
      };
    }
    case 'readCertificates': {
      const { certificate, chain } = await tpm.readEndorsementKey();
      return {
        certificate: certificate?.toString('base64') ?? null,
        chain: chain.slice(0, 8).map((each) => each.toString('base64')),
      };
    }
    case 'activate': {
      // The attestation key is the one of the fixed template, made here: the TPM refuses a credential for another.
      const { credential, secret } = request satisfies Credential;
      return tpm.activateCredential({ credential, secret });
    }
  }
}
