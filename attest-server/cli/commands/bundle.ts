import { parseBundle } from '../../formats/bundle.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { CliContext } from '../context.ts';
import { evidenceDigest } from '../evidence-digest.ts';
import { CliError } from '../exit.ts';
import { printableJson } from '../printable.ts';
import { into } from '../write-file.ts';

/** `bundle N`: the evidence behind the latest verdict or an earlier one, for `assay verify`. */
export async function exportBundle(
  { io, server }: CliContext,
  node: string,
  { evidence, file }: { readonly evidence?: string; readonly file?: string },
): Promise<void> {
  const which = evidence === undefined ? '' : `?evidence=${evidenceDigest(node, evidence)}`;
  const text = await (await server()).text(`/v1/nodes/${encodeURIComponent(node)}/bundle${which}`);
  const bundle = `${printableJson(checked(text))}\n`;
  into(file, io).out(bundle);
}

function checked(text: string) {
  try {
    return parseBundle(text);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(`the server sent no bundle: ${cause.message}`, 'Is its version the same?', 1, cause);
  }
}
