import { variableHeaderBytes, variableName, variableValue } from '../tpm/efi-structures.ts';
import { eventType, eventTypeName } from '../tpm/event-types.ts';
import { isAuthority } from '../tpm/signature-data.ts';
import type { SignatureEntry } from '../tpm/signature-list.ts';
import { signatureEntries, signatureEntry } from '../tpm/signature-list.ts';
import { authorityOf } from './authority.ts';
import type { BootProblem } from './boot-problem.ts';
import type { Authority, SecureBootState, SignatureDatabase } from './boot-state.ts';
import type { Boundaries } from './separators.ts';
import { ShimVariables, shimLock } from './shim-variables.ts';
import { isVouched, problemAt, type VouchedLog } from './vouched-log.ts';

/** EFI_GLOBAL_VARIABLE: that of SecureBoot, PK and KEK. UEFI 2.10, section 3.3. */
const globalVariable = Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex');
const authorityTypes: ReadonlySet<number> = new Set<number>([
  eventType.variableAuthority,
  eventType.spdmDeviceAuthority,
]);
const configurationTypes: ReadonlySet<number> = new Set<number>([
  eventType.variableDriverConfig,
  eventType.spdmDevicePolicy,
]);
const variableTypes: ReadonlySet<number> = new Set([...authorityTypes, ...configurationTypes]);
const databaseNames: ReadonlySet<string> = new Set(['PK', 'KEK', 'db', 'dbx', 'dbt', 'dbr']);

/** An EFI variable that was measured whole, so that its name is vouched for as well as its value. */
interface MeasuredVariable {
  readonly event: number;
  readonly type: number;
  readonly guid: Buffer;
  readonly name: string;
  readonly value: Buffer;
}

/**
 * The state that PCR 7 and PCR 14 vouch for. In PCR 7 the separator parts configuration from authorities; some firmware has
 * authorities of its own drivers before it. Order within the PCR and content are vouched for, the type of an event is not. PC
 * Client PFP 1.06, section 3.3.4.8.
 */
export function secureBootState(
  vouched: VouchedLog,
  boundaries: Boundaries,
  problems: BootProblem[],
): SecureBootState {
  const { raw } = vouched.log;
  const switches: MeasuredVariable[] = [];
  const databases: SignatureDatabase[] = [];
  const authorities: Authority[] = [];
  const shim = new ShimVariables(vouched);
  for (let event = 0; event < raw.count; event++) {
    const pcr = raw.pcrs[event]!;
    if ((pcr !== 7 && pcr !== 14) || !isVouched(vouched, event)) continue;
    if (pcr === 14) {
      shim.addDigest(event);
      continue;
    }
    const measured = measuredVariable(vouched, event);
    if (measured === null) continue;
    const { guid, name, value } = measured;
    const configures = boundaries.secureBoot !== null && event < boundaries.secureBoot;
    let expected = eventType.variableDriverConfig as number | null;
    if (name === 'SecureBoot' && guid.equals(globalVariable)) {
      // A second switch is told of once, as what it is.
      if (switches.push(measured) > 1) expected = null;
    } else if (guid.equals(shimLock) && shim.addVariable(event, name, value)) expected = null;
    else if (isAuthority(value) || !configures) {
      authorities.push(authorityOf(event, name, value));
      expected = guid.equals(shimLock) ? null : eventType.variableAuthority;
    } else if (databaseNames.has(name)) databases.push(new MeasuredDatabase(event, name, value));
    else expected = null;
    if (boundaries.secureBoot !== null && expected !== null) checkType(vouched, measured, expected, problems);
  }
  shim.recognize();
  return {
    ...secureBootSwitch(vouched, switches, boundaries, problems),
    databases,
    authorities,
    machineOwner: shim.variables,
    sbatLevel: shim.sbatLevel,
    sbatEvents: shim.sbatEvents,
    validationOff: shim.validationOff,
  };
}

function measuredVariable(vouched: VouchedLog, event: number): MeasuredVariable | null {
  const value = wholeVariable(vouched, event);
  if (value === null) return null;
  const { bytes, raw } = vouched.log;
  const from = raw.dataOffsets[event]!;
  const name = variableName(bytes, from);
  return { event, type: raw.types[event]!, guid: bytes.subarray(from, from + 16), name, value };
}

/** The value of a variable; null for an event that is none, and for one whose name is in no digest. */
export function wholeVariable({ log, measured }: VouchedLog, event: number): Buffer | null {
  const { bytes, raw } = log;
  const from = raw.dataOffsets[event]!;
  const value = measured[event] ? variableValue(bytes, from, raw.ends[event]!) : null;
  if (value === null) return null;
  // A variable of which only the value was measured could have any name.
  const nameBytes = bytes.readUInt32LE(from + 16) * 2;
  return (measured[event]?.length ?? 0) < variableHeaderBytes + nameBytes + value.length ? null : value;
}

/** Attack: two events for one switch, so that a reader takes the wrong one. The one before the separator counts. */
function secureBootSwitch(
  vouched: VouchedLog,
  switches: readonly MeasuredVariable[],
  { secureBoot: separator }: Boundaries,
  problems: BootProblem[],
): Pick<SecureBootState, 'enabled' | 'event'> {
  const second = switches[1];
  if (second !== undefined)
    problems.push(
      problemAt(
        vouched,
        second.event,
        'secureboot_ambiguous',
        'SecureBoot was measured already, and the first value counts',
      ),
    );
  const counts = switches.filter(({ event }) => separator !== null && event < separator);
  const [first] = counts;
  const [late] = switches;
  // Attack: firmware that measured no settings, and the system extends those of another machine.
  if (first === undefined && late !== undefined && separator !== null)
    problems.push(problemAt(vouched, late.event, 'unverified_event', behindSettings));
  const same = counts.every(({ value }) => first !== undefined && value.equals(first.value));
  if (first === undefined || !same) return { enabled: null, event: null };
  return { enabled: switchValue(first.value), event: first.event };
}

const behindSettings = 'SecureBoot was measured behind the settings of PCR 7, where no firmware does';

/** Firmware without the variable measures it with no value. */
function switchValue(value: Buffer): boolean | null {
  if (value.length === 0) return false;
  if (value.length !== 1) return null;
  return value[0] === 1 ? true : value[0] === 0 ? false : null;
}

/** Attack: the type says what a variable is for, and no digest covers it. Place and content do. */
function checkType(
  vouched: VouchedLog,
  { event, type }: MeasuredVariable,
  expected: number,
  problems: BootProblem[],
): void {
  const allowed = expected === eventType.variableAuthority ? authorityTypes : configurationTypes;
  if (allowed.has(type) || !variableTypes.has(type)) return;
  const values = { expected: eventTypeName(expected), actual: eventTypeName(type) };
  const text = `the log was altered: ${values.actual} is not the type of what it holds`;
  problems.push(problemAt(vouched, event, 'unverified_event', text, values));
}

/** Parsed when first asked for: a list of revoked images has hundreds of entries, and few policies ask. */
class MeasuredDatabase implements SignatureDatabase {
  readonly event: number;
  readonly name: string;
  readonly #value: Buffer;
  #entries: readonly SignatureEntry[] | undefined;

  constructor(event: number, name: string, value: Buffer) {
    this.event = event;
    this.name = name;
    this.#value = value;
  }

  get entries(): readonly SignatureEntry[] {
    // Attack: a list that nobody can read, so that a rule on who is in it finds nobody.
    this.#entries ??= signatureEntries(this.#value) ?? [signatureEntry(this.#value, 'other')];
    return this.#entries;
  }
}
