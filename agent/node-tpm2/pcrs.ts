import { ToolError } from './tool-error.ts';
import type { TpmConnection } from './tpm-connection.ts';

/** In the order in which this package asks for them. */
export const banks = ['sha1', 'sha256', 'sha384', 'sha512'] as const;
export type Bank = (typeof banks)[number];
const bankBytes: Readonly<Record<Bank, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };

/** Bank -> PCR numbers, 0 to 23. */
export type PcrSelection = { readonly [bank in Bank]?: readonly number[] | undefined };
/** Bank -> the selected values in ascending order of their PCR, concatenated. */
export type PcrValues = Partial<Record<Bank, Buffer>>;

/** PCR numbers, ascending and each once. */
type NormalisedSelection = readonly { readonly bank: Bank; readonly pcrs: readonly number[] }[];

/** @throws ToolError `bad_input` if the selection is empty or names what no TPM has */
export function normaliseSelection(selection: PcrSelection): NormalisedSelection {
  const unknown = Object.keys(selection).find((name) => !banks.some((bank) => bank === name));
  if (unknown !== undefined) throw badSelection(`${unknown} is no PCR bank`);
  const chosen = banks.flatMap((bank) => {
    const pcrs = [...new Set(selection[bank] ?? [])].sort((a, b) => a - b);
    const bad = pcrs.find((pcr) => !Number.isInteger(pcr) || pcr < 0 || pcr > 23);
    if (bad !== undefined) throw badSelection(`${bad} is no PCR: they are 0 to 23`);
    return pcrs.length === 0 ? [] : [{ bank, pcrs }];
  });
  if (chosen.length === 0) throw badSelection('no PCR is selected');
  return chosen;
}

/** As tpm2-tools write it: `sha1:0,1+sha256:7`. */
export function formatSelection(selection: NormalisedSelection): string {
  return selection.map(({ bank, pcrs }) => `${bank}:${pcrs.join(',')}`).join('+');
}

/** @throws ToolError `bad_input`: a bank that is not allocated gives no values */
export function splitValues(values: Buffer, selection: NormalisedSelection): PcrValues {
  const split: PcrValues = {};
  let at = 0;
  for (const { bank, pcrs } of selection) {
    const end = at + pcrs.length * bankBytes[bank];
    split[bank] = values.subarray(at, end);
    at = end;
  }
  if (at !== values.length)
    throw badSelection(
      `the TPM gave ${values.length} bytes for ${formatSelection(selection)}: a bank is not allocated`,
    );
  return split;
}

export async function readPcrs(connection: TpmConnection, selection: PcrSelection): Promise<PcrValues> {
  const chosen = normaliseSelection(selection);
  await connection.tool('tpm2_pcrread', [formatSelection(chosen), '-o', connection.file('pcrs.bin')]);
  return splitValues(connection.takeFile('pcrs.bin'), chosen);
}

/** TPM2_PCR_Extend of one PCR in several banks: bank -> digest of that bank's length. */
export async function extendPcr(
  connection: TpmConnection,
  pcr: number,
  digests: { readonly [bank in Bank]?: Buffer | undefined },
): Promise<void> {
  const [first] = normaliseSelection({ sha256: [pcr] });
  const parts = banks.flatMap((bank) => {
    const digest = digests[bank];
    if (digest === undefined) return [];
    if (digest.length !== bankBytes[bank])
      throw badSelection(`a ${bank} digest has ${bankBytes[bank]} bytes`);
    return [`${bank}=${digest.toString('hex')}`];
  });
  if (first === undefined || parts.length === 0) throw badSelection('no digest is given');
  await connection.tool('tpm2_pcrextend', [`${pcr}:${parts.join(',')}`]);
}

function badSelection(message: string): ToolError {
  return new ToolError(message, { code: 'bad_input', tool: 'pcrs' });
}
