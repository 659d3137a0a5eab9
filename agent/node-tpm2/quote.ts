import type { LoadedAttestationKey } from './attestation-key.ts';
import {
  formatSelection,
  normaliseSelection,
  type PcrSelection,
  type PcrValues,
  splitValues,
} from './pcrs.ts';
import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

export interface QuoteRequest {
  /** At most 64 bytes; TPMS_ATTEST carries them as extraData. */
  readonly qualifyingData: Buffer;
  readonly selection: PcrSelection;
}

export interface Quote {
  /** TPMS_ATTEST. */
  readonly attest: Buffer;
  /** TPMT_SIGNATURE. */
  readonly signature: Buffer;
  readonly pcrs: PcrValues;
}

/**
 * TPM2_Quote, and the values that it covers.
 * @throws ToolError `pcrs_moved` (retryable) if a PCR was extended between the quote and the reading
 */
export async function quote(
  connection: TpmConnection,
  key: LoadedAttestationKey,
  request: QuoteRequest,
): Promise<Quote> {
  const { qualifyingData } = request;
  if (qualifyingData.length > 64)
    throw new ToolError(`qualifying data of ${qualifyingData.length} bytes: a TPM takes at most 64`, {
      code: 'bad_input',
      tool: 'tpm2_quote',
    });
  const selection = normaliseSelection(request.selection);
  const [attest, signature, pcrs] = ['quote.attest', 'quote.sig', 'quote.pcrs'] as const;
  const what = ['-c', key.context, '-l', formatSelection(selection), '-q', qualifyingData.toString('hex')];
  const where = [
    '-m',
    connection.file(attest),
    '-s',
    connection.file(signature),
    '-o',
    connection.file(pcrs),
  ];
  await connection
    .tool('tpm2_quote', ['-Q', ...what, ...where, '-F', 'values'], { leavesObject: key.kind === 'ecc' })
    .catch((error: unknown) => {
      throw movedOr(error);
    });
  const files = [attest, signature, pcrs].map((name) => connection.takeFile(name));
  const [attestBytes, signatureBytes, values] = files;
  if (attestBytes === undefined || signatureBytes === undefined || values === undefined)
    throw new ToolError('tpm2_quote left a file out', { code: 'failed', tool: 'tpm2_quote' });
  return { attest: attestBytes, signature: signatureBytes, pcrs: splitValues(values, selection) };
}

/** tpm2_quote compares the values it reads afterwards with the digest that was signed. */
function movedOr(error: unknown): unknown {
  if (!(error instanceof ToolError) || !/PCR values failed to match/i.test(error.message)) return error;
  return new ToolError('a PCR was extended during the quote: quote again', {
    code: 'pcrs_moved',
    tool: error.tool,
    exitCode: error.exitCode,
    retryable: true,
    cause: error,
  });
}
