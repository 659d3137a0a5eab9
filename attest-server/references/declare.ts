import type { ReferenceChange } from '../declared/ports.ts';
import type { DeclaredReference } from '../declared/read-directory.ts';
import { declaredActor, isDeclaredActor } from '../formats/declared.ts';
import type { Reference, ReferenceAction } from '../formats/reference.ts';

/** The references of a signed directory. */
export interface Declaration {
  readonly serial: number;
  /** The serial that was in force before; 0: none. */
  readonly before: number;
  /** Name of the key that signed it. */
  readonly key: string;
  /** When it came into force: milliseconds since the epoch. */
  readonly at: number;
  /** References whose revocation by a person it takes back, each since which serial. */
  readonly restored: ReadonlyMap<string, number>;
  readonly references: readonly DeclaredReference[];
}

/**
 * The changes to the references that a server holds: those of the directory become as it says, those that it had and has no
 * longer are retired, and what a person revoked stays so until the directory says otherwise by its name.
 */
export function declaredChanges(
  held: readonly Reference[],
  declaration: Declaration,
): readonly ReferenceChange[] {
  const before = new Map(held.map((reference) => [reference.name, reference]));
  const names = new Set(declaration.references.map(({ reference }) => reference.name));
  return [
    ...declaration.references.flatMap((declared) =>
      changeTo(declared, before.get(declared.reference.name) ?? null, declaration),
    ),
    ...held
      .filter(({ name, declared }) => declared !== undefined && !names.has(name))
      .map((reference) => removed(reference, declaration)),
  ];
}

function changeTo(
  { reference: file, sha256 }: DeclaredReference,
  held: Reference | null,
  declaration: Declaration,
): readonly ReferenceChange[] {
  const { serial, before, key, at, restored } = declaration;
  const by = declaredActor(key);
  const moment = new Date(at).toISOString();
  // What was in force before had its say already: a revocation that is still there came after it.
  const staysRevoked =
    held?.state === 'revoked' &&
    !isDeclaredActor(held.changed?.by ?? null) &&
    (restored.get(file.name) ?? 0) <= before;
  const state = staysRevoked ? 'revoked' : file.state;
  const isSame = held?.declared?.sha256 === sha256;
  if (isSame && held?.state === state) return [];
  const { changed: _elsewhere, announced: _there, declared: _then, ...content } = file;
  const captured = isSame ? held?.captured : { by, node: file.captured?.node ?? '-', at: moment };
  const step = { by, at: moment, reason: `serial ${serial} of the declared directory` };
  const action = staysRevoked ? null : actionTo(state, held);
  const changed = staysRevoked
    ? // Whoever takes it back has what the directory says.
      held.changed && { ...held.changed, from: file.state === 'revoked' ? held.changed.from : file.state }
    : action === null
      ? undefined
      : { ...step, action, from: held?.state ?? ('staged' as const) };
  const reference: Reference = {
    ...content,
    state,
    ...(captured !== undefined && { captured }),
    ...(changed !== undefined && { changed }),
    declared: { key, serial, sha256 },
  };
  return [changeOf(reference, held, declaration, { sha256 })];
}

function removed(held: Reference, declaration: Declaration): ReferenceChange {
  const { declared: _then, announced: _there, ...reference } = held;
  const { state } = held;
  const isOut = state === 'revoked' || state === 'retired';
  const step = {
    action: 'retire' as const,
    by: declaredActor(declaration.key),
    at: new Date(declaration.at).toISOString(),
    reason: `not in the declared directory since serial ${declaration.serial}`,
    from: state,
  };
  const next: Reference = isOut ? reference : { ...reference, state: 'retired', changed: step };
  return changeOf(next, held, declaration, { removed: true });
}

function changeOf(
  reference: Reference,
  held: Reference | null,
  { key, serial, at }: Declaration,
  more: Readonly<Record<string, string | boolean>>,
): ReferenceChange {
  const { name, kind, group, state } = reference;
  return {
    reference,
    audit: {
      at,
      actor: declaredActor(key),
      action: 'reference.declare',
      subject: name,
      code: null,
      detail: { kind, group, from: held?.state ?? null, to: state, serial, ...more },
    },
  };
}

/** The step that leads to this state; null if the state was so, and for `staged`, to which none leads. */
function actionTo(state: Reference['state'], held: Reference | null): ReferenceAction | null {
  // Of a revocation it must be known whose it is.
  if (state === 'revoked') return 'revoke';
  if (held === null || held.state === state) return null;
  if (state === 'active') return held.state === 'revoked' ? 'restore' : 'approve';
  return state === 'retired' ? 'retire' : null;
}
