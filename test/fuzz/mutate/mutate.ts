import type { Random } from '../random.ts';
import { changeBytes } from './bytes.ts';
import { changeDer } from './der.ts';
import type { Form } from './form.ts';
import { changeJson } from './json.ts';
import { changeLengths } from './lengths.ts';
import { changeRecords } from './records.ts';
import { changeText } from './text.ts';
import type { Words } from './words.ts';

export interface Mutation {
  readonly form: Form;
  /** Longest result, in bytes. */
  readonly most: number;
  readonly words: Words;
  readonly random: Random;
}

/**
 * Another input made of one that is known. Mostly one or two changes: each more makes it likelier that the first look
 * at it refuses the whole.
 * @param donor another known input, of which pieces are taken
 */
export function mutated(parent: Buffer, donor: Buffer, mutation: Mutation): Buffer {
  const { most, random } = mutation;
  let bytes: Buffer = parent;
  for (let changes = 1 + (random.once(2) ? 0 : random.length(6)); changes > 0; changes--)
    bytes = cut(changedOnce(bytes, donor, mutation), most);
  return bytes === parent ? Buffer.from(parent) : bytes;
}

function changedOnce(bytes: Buffer, donor: Buffer, { form, words, random }: Mutation): Buffer {
  if (random.once(12)) return changeBytes(bytes, donor, random);
  if (form.records !== undefined && random.once(3)) return changeRecords(bytes, donor, form.records, random);
  switch (form.kind) {
    case 'json':
      return random.once(8)
        ? changeText(bytes, donor, words, random)
        : changeJson(bytes, donor, words, random);
    case 'text':
      return changeText(bytes, donor, words, random);
    case 'der':
      return random.once(4) ? changeBytes(bytes, donor, random) : changeDer(bytes, donor, random);
    default:
      return random.once(2)
        ? changeBytes(bytes, donor, random)
        : changeLengths(bytes, donor, form.kind, random);
  }
}

function cut(bytes: Buffer, most: number): Buffer {
  return bytes.length <= most ? bytes : bytes.subarray(0, most);
}
