import type { TpmClass } from '../formats/tpm-class.ts';
import type { Certificate } from './x509/certificate.ts';

/** A TPM as its endorsement certificate describes it; worth as much as the certificate's issuer. */
export interface TpmIdentity {
  /** As registered with the TCG, `IFX`, `INTC`, …; `id:` and hex where it is no text; null if it says nothing. */
  readonly manufacturer: string | null;
  readonly model: string | null;
  readonly version: string | null;
  readonly tpmClass: TpmClass;
}

/** tcg-at-tpmManufacturer, -Model and -Version, 2.23.133.2.1 to 3: TCG EK Credential Profile 2.5, section 3.1. */
const attributes = { manufacturer: '6781050201', model: '6781050202', version: '6781050203' } as const;

/** Reads manufacturer, model and version from the alternative names, or from the subject. */
export function tpmIdentityOf({ subjectName, extensions }: Certificate): TpmIdentity {
  const read = (oid: string) =>
    shown(extensions.alternativeNames.get(oid) ?? subjectName.attributes.get(oid) ?? '');
  const id = read(attributes.manufacturer);
  const manufacturer = id === null ? null : manufacturerOf(id);
  const model = read(attributes.model);
  return {
    manufacturer,
    model,
    version: read(attributes.version),
    tpmClass: classOf(manufacturer ?? '', model ?? ''),
  };
}

/** `id:` and four bytes in hex: a name of up to four letters, filled up with zeros or spaces. */
function manufacturerOf(text: string): string {
  const hex = /^id:([0-9A-Fa-f]{8})$/.exec(text)?.[1];
  if (hex === undefined) return text;
  // What the software TPM of IBM and swtpm put there: the number of IBM in another registry of the TCG.
  if (hex === '00001014') return 'IBM';
  const name = Buffer.from(hex, 'hex')
    .toString('latin1')
    .replace(/[\0 ]+$/, '');
  return /^[!-~]{1,4}$/.test(name) ? name : text;
}

/** One line of at most 64 letters that can be shown anywhere; null for nothing. */
function shown(text: string): string | null {
  const line = text
    .replace(/[^ -~]/g, '?')
    .slice(0, 64)
    .trim();
  return line === '' ? null : line;
}

/** Which kind of TPM a maker builds. TCG TPM Vendor ID Registry 1.07; models that stand out come first. */
const classes: readonly (readonly [manufacturer: RegExp, model: RegExp, tpmClass: TpmClass])[] = [
  [/./, /swtpm|\bvTPM\b|virtual/i, 'virtual'],
  [/./, /pluton/i, 'firmware'],
  [/^(GOOG|VMW|IBM|MSFT|AMZN|XEN|QEMU)$/, /^/, 'virtual'],
  [/^(INTC|AMD|QCOM|HISI|ROCC)$/, /^/, 'firmware'],
  [/^(IFX|STM|NTC|WEC|NSM|ATML|NTZ|NSG|SMSN|SNS|TXN|BRCM|SMSC|SEAL)$/, /^/, 'discrete'],
];

function classOf(manufacturer: string, model: string): TpmClass {
  const found = classes.find(([maker, kind]) => maker.test(manufacturer) && kind.test(model));
  return found === undefined ? 'unknown' : found[2];
}
