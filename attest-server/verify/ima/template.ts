/** Fields that IMA can put into an entry, security/integrity/ima/ima_template.c (supported_fields). */
const fieldNames = [
  'd',
  'n',
  'd-ng',
  'd-ngv2',
  'n-ng',
  'sig',
  'buf',
  'd-modsig',
  'modsig',
  'evmsig',
  'xattrnames',
  'xattrlengths',
  'xattrvalues',
  'iuid',
  'igid',
  'imode',
] as const;
export type FieldName = (typeof fieldNames)[number];

/** The fields of an entry, in the kernel's order. */
export interface Template {
  /** As an entry names it: a name, or a format of `ima_template_fmt=`. */
  readonly text: string;
  readonly bytes: Buffer;
  readonly fields: readonly FieldName[];
  /** Places in `fields` of what was measured, and of its name. */
  readonly digest: number;
  readonly name: number;
  /** It carries what was measured itself, or the attributes of a file. */
  readonly hasData: boolean;
  readonly hasAttributes: boolean;
  /** `d` has no name of a hash before its bytes; `d-ngv2` says of what it is, too. */
  readonly digestForm: 'd' | 'd-ng' | 'd-ngv2';
  /** `ima`, before 3.13: its data have no sizes, and its name is hashed with zeros behind it. */
  readonly isOldest: boolean;
}

/** Longer than any format in which no field stands twice. */
export const longestTemplate = 128;

/** Null if no kernel has such a template, or where it would not say what was measured, and under which name. */
export function templateOf(text: string): Template | null {
  const builtIn = named.get(text);
  if (builtIn !== undefined) return builtIn;
  const format = templateOfFormat(text, text);
  return format !== null && isFormat(format) ? format : null;
}

/**
 * The templates for files that `ima_template_fmt=` can give. Attack: no PCR holds the template's name, so that another field
 * could be called the digest, or the data that the kernel measures by ima-buf alone.
 */
function isFormat({ digest, name, hasData }: Template): boolean {
  return !hasData && digest < 2 && name < 2;
}

function templateOfFormat(text: string, format: string): Template | null {
  const fields: FieldName[] = [];
  for (const word of format.split('|')) {
    const field = fieldNames.find((name) => name === word);
    // Attack: a field twice, so that one of them hides what the other says.
    if (field === undefined || fields.includes(field)) return null;
    fields.push(field);
  }
  const [digestForm, ...otherDigests] = digestForms.filter((form) => fields.includes(form));
  const [nameForm, ...otherNames] = nameForms.filter((form) => fields.includes(form));
  if (digestForm === undefined || nameForm === undefined) return null;
  if (otherDigests.length > 0 || otherNames.length > 0) return null;
  const digest = fields.indexOf(digestForm);
  const name = fields.indexOf(nameForm);
  return {
    text,
    bytes: Buffer.from(text),
    fields,
    digest,
    name,
    hasData: fields.includes('buf'),
    hasAttributes: fields.includes('evmsig'),
    digestForm,
    isOldest: text === 'ima',
  };
}

const digestForms = ['d', 'd-ng', 'd-ngv2'] as const;
const nameForms = ['n', 'n-ng'] as const;

/** The kernel's own, ima_template.c (builtin_templates). */
const named = new Map(
  Object.entries({
    ima: 'd|n',
    'ima-ng': 'd-ng|n-ng',
    'ima-sig': 'd-ng|n-ng|sig',
    'ima-ngv2': 'd-ngv2|n-ng',
    'ima-sigv2': 'd-ngv2|n-ng|sig',
    'ima-buf': 'd-ng|n-ng|buf',
    'ima-modsig': 'd-ng|n-ng|sig|d-modsig|modsig',
    'evm-sig': 'd-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode',
  }).map(([text, format]) => [text, templateOfFormat(text, format)] as const),
);
