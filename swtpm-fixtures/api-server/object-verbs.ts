import { randomInt, randomUUID } from 'node:crypto';
import type { Admission, Attempt } from './admission.ts';
import type { ResourceRequest } from './api-request.ts';
import { configurationOf } from './applied-configuration.ts';
import { asObject, type DecodedBody, decodeObject } from './decode.ts';
import { decodedObject } from './decoded-object.ts';
import type { DeleteOptions } from './delete-options.ts';
import { deletionWait, returnsDeleted } from './deletion.ts';
import {
  isEqual,
  type Json,
  type JsonObject,
  type KubeObject,
  type Metadata,
  sharing,
  textAt,
  textsAt,
} from './json.ts';
import { applyJsonPatch } from './json-patch.ts';
import { afterUpdate, apply, type Manager } from './managed-fields.ts';
import { applyMergePatch } from './merge-patch.ts';
import { checkMetadata, checkMetadataUpdate } from './metadata-rules.ts';
import type { ObjectStore } from './object-store.ts';
import { apiVersionOf, keyOf, type Part, type ResourceType, tableOf } from './resource-type.ts';
import * as status from './status.ts';
import { applyStrategicMerge } from './strategic-merge.ts';
import type { User } from './users.ts';
import { checkWriteOptions } from './write-options.ts';

export interface Write {
  readonly at: number;
  readonly user: string;
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly before: KubeObject | null;
  readonly after: KubeObject | null;
}

export interface VerbParts {
  readonly store: ObjectStore;
  /** Milliseconds since the epoch, as the server's clock says. */
  readonly now: () => number;
  readonly admission: Admission;
  readonly wrote: (write: Write) => void;
  /** An object of this type is new. */
  readonly made: (type: ResourceType, object: KubeObject) => void;
  /** An object of this type went for good. */
  readonly removed: (type: ResourceType, object: KubeObject) => void;
}

export interface Caller {
  readonly user: User;
  /** Who manages the fields that are written: `fieldManager`, or the first word of the user agent. */
  readonly manager: string;
  /** Where a patch or a PUT would make the object: whether the caller may. @throws ApiError 403 */
  readonly checkMayCreate: () => void;
  /** Takes what admission says beside the answer. */
  readonly warn: (texts: readonly string[]) => void;
}

export interface Outcome {
  readonly code: number;
  readonly object: JsonObject;
  /** What was left out of the object, for the header `Warning`. */
  readonly warnings?: readonly string[];
}

/** Reads and writes single objects of every type. */
export class ObjectVerbs {
  readonly #parts: VerbParts;

  constructor(parts: VerbParts) {
    this.#parts = parts;
  }

  get(type: ResourceType, request: ResourceRequest): KubeObject {
    return this.#existing(type, request);
  }

  create(type: ResourceType, request: ResourceRequest, caller: Caller, body: DecodedBody): Outcome {
    checkWriteOptions(request, false);
    const { object: decoded, warnings } = decodedObject(type, request, body);
    const object = withName(decoded);
    if (object.metadata.resourceVersion !== '') {
      throw status.reasonless('resourceVersion should not be set on objects to be created');
    }
    return { code: 201, object: this.#insert(type, request, caller, object), warnings };
  }

  update(type: ResourceType, request: ResourceRequest, caller: Caller, body: DecodedBody): Outcome {
    checkWriteOptions(request, false);
    const { object, warnings } = decodedObject(type, request, body);
    checkSameName(object, request);
    const old = this.#find(type, request);
    if (old === null) {
      if (!type.createOnUpdate || object.metadata.resourceVersion !== '') throw this.#missing(type, request);
      caller.checkMayCreate();
      return { code: 201, object: this.#insert(type, request, caller, object), warnings };
    }
    return { code: 200, object: this.#replace(type, request, caller, old, object), warnings };
  }

  patch(
    type: ResourceType,
    request: ResourceRequest,
    caller: Caller,
    patchType: string,
    { value: patch, duplicates }: DecodedBody,
  ): Outcome {
    const isApply = patchType.startsWith('application/apply-patch+');
    checkWriteOptions(request, isApply);
    if (isApply) {
      const validation = request.query.get('fieldValidation');
      if (validation === 'Strict' && duplicates.length > 0) {
        throw status.badRequest(`error strict decoding YAML: ${duplicates.join(', ')}`);
      }
      const outcome = this.#apply(type, request, caller, patch);
      return { ...outcome, warnings: validation === 'Ignore' ? [] : duplicates };
    }
    const old = this.#existing(type, request);
    const patched = patchedBy(patchType, old, patch, type);
    const { object, warnings } = decodedObject(type, request, { value: patched, duplicates });
    checkSameName(object, request);
    return { code: 200, object: this.#replace(type, request, caller, old, object), warnings };
  }

  /** Server-side apply: what is not there is made. */
  #apply(type: ResourceType, request: ResourceRequest, caller: Caller, body: Json): Outcome {
    const { query } = request;
    const manager = query.get('fieldManager') ?? '';
    if (manager === '') {
      const cause = status.required('fieldManager', 'is required for apply patch');
      throw status.invalid({ group: 'meta.k8s.io', resource: 'PatchOptions' }, [cause]);
    }
    const config = asObject(body);
    if (textAt(config, 'kind') !== type.kind || textAt(config, 'apiVersion') !== apiVersionOf(type)) {
      throw status.badRequest(
        `an applied object of this path has the kind ${type.kind} of ${apiVersionOf(type)}`,
      );
    }
    const said = { ...config, metadata: { name: request.name, ...asObject(config.metadata ?? {}) } };
    const { metadata: its } = decodeObject(said, type);
    if (its.managedFields !== undefined) throw status.badRequest('metadata.managedFields must be nil');
    if (its.name !== request.name) throw status.otherName(its.name, request.name);
    const old = this.#find(type, request);
    if (old === null && request.subresource !== '') throw this.#missing(type, request);
    if (old === null) caller.checkMayCreate();
    const wanted = configurationOf(said, request, type);
    const force = isTrue(query.get('force'));
    const writer = this.#manager(type, request, manager);
    const { object: applied, managedFields } = apply(wanted, old, writer, force, type);
    const ignoring = { ...request, query: new URLSearchParams(query) };
    ignoring.query.set('fieldValidation', 'Ignore');
    // Of these a configuration says at most which object and version it means.
    const { resourceVersion } = its;
    const identity = old === null ? {} : { uid: its.uid || old.metadata.uid, resourceVersion };
    const { managedFields: _, ...named } = asObject(applied.metadata ?? {});
    const metadata = { ...named, ...identity, ...(managedFields.length > 0 && { managedFields }) };
    const { object: whole } = decodedObject(
      type,
      ignoring,
      { value: { ...applied, metadata }, duplicates: [] },
      true,
    );
    if (old === null) return { code: 201, object: this.#insert(type, request, caller, whole, true) };
    return { code: 200, object: this.#replace(type, request, caller, old, whole, true) };
  }

  delete(type: ResourceType, request: ResourceRequest, caller: Caller, options: DeleteOptions): Outcome {
    const object = this.#existing(type, request);
    const { uid, resourceVersion } = object.metadata;
    const named = { group: '', resource: type.kind, name: request.name };
    if (options.uid !== null && options.uid !== uid) {
      const why = `the UID in the precondition (${options.uid}) does not match the UID in record (${uid}). The object might have been deleted and then recreated`;
      throw status.conflict(named, why);
    }
    if (options.resourceVersion !== null && options.resourceVersion !== resourceVersion) {
      const why = `the ResourceVersion in the precondition (${options.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion}). The object might have been modified`;
      throw status.conflict(named, why);
    }
    const attempt = {
      ...this.#attempt('DELETE', type, request, caller, null, object),
      dryRun: options.dryRun,
    };
    this.#parts.admission.admit(attempt);
    caller.warn(this.#parts.admission.validate(attempt));
    const { finalizers, grace, isOver, isNews } = deletionWait(type, object, options);
    if (!isOver && !isNews) return { code: 200, object };
    const metadata: Metadata = {
      ...object.metadata,
      deletionTimestamp: timestampOf(this.#parts.now() + grace * 1000),
      deletionGracePeriodSeconds: grace,
      ...(finalizers.length > 0 && { finalizers }),
    };
    const phase = type.plural === 'namespaces' && { status: { phase: 'Terminating' } };
    const marked = { ...object, metadata, ...phase };
    if (!isOver && attempt.dryRun) return { code: 200, object: marked };
    if (!isOver) return { code: 200, object: this.#put(type, request, caller, object, marked) };
    const final =
      type.strategy.prepareDelete?.(object, this.#timestamp()) ??
      (type.plural === 'pods' ? marked : undefined);
    if (!attempt.dryRun) {
      if (final !== undefined) this.#put(type, request, caller, object, final);
      this.#remove(type, request, caller, object);
    }
    if (final !== undefined) return { code: 200, object: final };
    if (returnsDeleted(type)) return { code: 200, object };
    const details = {
      name: request.name,
      ...(type.group !== '' && { group: type.group }),
      kind: type.plural,
      uid,
    };
    return {
      code: 200,
      object: { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details },
    };
  }

  #insert(
    type: ResourceType,
    request: ResourceRequest,
    caller: Caller,
    decoded: KubeObject,
    isApplied = false,
  ): KubeObject {
    const { name } = decoded.metadata;
    const named = { ...request, name };
    const born = type.strategy.prepareCreate(this.#born(decoded));
    const manager = this.#manager(type, request, caller.manager);
    const prepared = isApplied
      ? born
      : withManagers(born, afterUpdate(saidOf(type, decoded, born), null, manager, type));
    const attempt = this.#attempt('CREATE', type, named, caller, prepared, null);
    this.#parts.admission.admit(attempt);
    this.#check(type, prepared, null, '');
    caller.warn(this.#parts.admission.validate(attempt));
    if (this.#find(type, named) !== null) throw status.alreadyExists(this.#named(type, named));
    if (attempt.dryRun) return prepared;
    const made = this.#put(type, named, caller, null, prepared);
    this.#parts.made(type, made);
    return made;
  }

  #replace(
    type: ResourceType,
    request: ResourceRequest,
    caller: Caller,
    old: KubeObject,
    decoded: KubeObject,
    isApplied = false,
  ): KubeObject {
    const part = partOf(request.subresource);
    const { resourceVersion, uid } = decoded.metadata;
    const named = this.#named(type, request);
    if (!/^\d*$/.test(resourceVersion)) {
      throw status.reasonless(
        `strconv.ParseUint: parsing ${JSON.stringify(resourceVersion)}: invalid syntax`,
      );
    }
    if (request.verb === 'update' && uid !== '' && uid !== old.metadata.uid) {
      throw status.conflict(
        named,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`,
      );
    }
    const attempt = this.#attempt('UPDATE', type, request, caller, decoded, old);
    this.#parts.admission.admit(attempt);
    if (resourceVersion === '' && !type.unconditionalUpdate && !isApplied) {
      const cause = status.missingVersion();
      throw status.invalid({ group: type.group, resource: type.kind, name: request.name }, [cause]);
    }
    if (resourceVersion !== '' && resourceVersion !== old.metadata.resourceVersion) {
      throw status.conflict(named, status.staleObject);
    }
    const updated = type.strategy.prepareUpdate(this.#kept(decoded, old), old, part);
    const prepared = isApplied
      ? withManagers(updated, decoded)
      : afterUpdate(updated, old, this.#manager(type, request, caller.manager), type);
    this.#check(type, prepared, old, part);
    caller.warn(this.#parts.admission.validate({ ...attempt, object: prepared }));
    const isGone =
      prepared.metadata.deletionTimestamp !== undefined &&
      prepared.metadata.finalizers === undefined &&
      (type.plural !== 'namespaces' || textsAt(prepared, 'spec', 'finalizers').length === 0);
    if (isGone) {
      if (!attempt.dryRun) this.#remove(type, request, caller, old);
      return prepared;
    }
    // An update that changes nothing is none: no new version, nothing for watches.
    if (isEqual(prepared, old)) return old;
    return attempt.dryRun ? prepared : this.#put(type, request, caller, old, sharingWith(prepared, old));
  }

  #put(
    type: ResourceType,
    request: ResourceRequest,
    caller: Caller,
    before: KubeObject | null,
    object: KubeObject,
  ): KubeObject {
    const stored = type.face?.toStored(object) ?? object;
    const { object: put } = this.#parts.store.put(tableOf(type), keyIn(type, request), stored);
    const after = type.face?.toShown(put) ?? put;
    this.#log(request, caller, before, after);
    return after;
  }

  #remove(type: ResourceType, request: ResourceRequest, caller: Caller, object: KubeObject): void {
    this.#parts.store.remove(tableOf(type), keyIn(type, request));
    this.#parts.removed(type, object);
    this.#log(request, caller, object, null);
  }

  #manager(type: ResourceType, { subresource }: ResourceRequest, name: string): Manager {
    return { name, subresource, apiVersion: apiVersionOf(type), time: this.#timestamp() };
  }

  #born(object: KubeObject): KubeObject {
    const {
      deletionTimestamp: _,
      deletionGracePeriodSeconds: __,
      generation: ___,
      ...metadata
    } = object.metadata;
    return {
      ...object,
      metadata: { ...metadata, uid: randomUUID(), resourceVersion: '', creationTimestamp: this.#timestamp() },
    };
  }

  /** What the system said of it stays. */
  #kept(object: KubeObject, { metadata: old }: KubeObject): KubeObject {
    const {
      generation: _,
      deletionTimestamp: __,
      deletionGracePeriodSeconds: ___,
      ...metadata
    } = object.metadata;
    const {
      uid,
      creationTimestamp,
      resourceVersion,
      generation,
      deletionTimestamp,
      deletionGracePeriodSeconds,
    } = old;
    return {
      ...object,
      metadata: {
        ...metadata,
        // A patch that would change it is refused by that name.
        uid: metadata.uid || uid,
        ...{ creationTimestamp, resourceVersion },
        ...(generation !== undefined && { generation }),
        ...(deletionTimestamp !== undefined && { deletionTimestamp }),
        ...(deletionGracePeriodSeconds !== undefined && { deletionGracePeriodSeconds }),
      },
    };
  }

  #check(type: ResourceType, object: KubeObject, old: KubeObject | null, part: Part): void {
    const causes = [
      ...checkMetadata(object, type),
      ...(old === null ? [] : checkMetadataUpdate(object, old)),
      ...type.strategy.validate(object, old, part),
    ];
    const { name } = object.metadata;
    if (causes.length > 0) throw status.invalid({ group: type.group, resource: type.kind, name }, causes);
  }

  #attempt(
    operation: Attempt['operation'],
    type: ResourceType,
    request: ResourceRequest,
    { user }: Caller,
    object: KubeObject | null,
    old: KubeObject | null,
  ): Attempt {
    const { subresource, namespace, name } = request;
    return { operation, type, user, object, old, subresource, namespace, name, dryRun: isDryRun(request) };
  }

  #log(
    { verb, group, resource, subresource, namespace, name }: ResourceRequest,
    { user }: Caller,
    before: KubeObject | null,
    after: KubeObject | null,
  ): void {
    const at = this.#parts.now();
    this.#parts.wrote({
      at,
      user: user.name,
      verb,
      group,
      resource,
      subresource,
      namespace,
      name,
      before,
      after,
    });
  }

  #find(type: ResourceType, request: ResourceRequest): KubeObject | null {
    const object = this.#parts.store.get(tableOf(type), keyIn(type, request))?.object;
    return object === undefined ? null : (type.face?.toShown(object) ?? object);
  }

  #existing(type: ResourceType, request: ResourceRequest): KubeObject {
    const object = this.#find(type, request);
    if (object === null) throw this.#missing(type, request);
    return object;
  }

  #missing(type: ResourceType, request: ResourceRequest): status.ApiError {
    return status.notFound(this.#named(type, request));
  }

  #named({ group, plural }: ResourceType, { name }: ResourceRequest) {
    return { group, resource: plural, name };
  }

  /** RFC 3339, whole seconds, as all of Kubernetes has it. */
  #timestamp(): string {
    return timestampOf(this.#parts.now());
  }
}

export function timestampOf(now: number): string {
  return new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
}

function patchedBy(patchType: string, object: KubeObject, patch: Json, type: ResourceType): Json {
  switch (patchType) {
    case 'application/json-patch+json':
      return applyJsonPatch(object, patch);
    case 'application/merge-patch+json':
      return applyMergePatch(object, asObject(patch));
    case 'application/strategic-merge-patch+json':
      if (type.schema !== null) break;
      return applyStrategicMerge(object, asObject(patch), type.lists);
  }
  const others = patchTypes.filter((other) => type.schema === null || !other.includes('strategic'));
  throw status.unsupportedMediaType(others);
}

const patchTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];

/** As the real one reads a flag of a query. */
function isTrue(text: string | null): boolean {
  return text !== null && !['', 'false', '0'].includes(text.toLowerCase());
}

/** A deletion may say it in its body, too. @throws ApiError 422 */
function isDryRun({ verb, query }: ResourceRequest): boolean {
  if (verb === 'delete' || verb === 'deletecollection') return false;
  const values = query.getAll('dryRun');
  if (values.some((value) => value !== 'All')) {
    const resource = `${verb.slice(0, 1).toUpperCase()}${verb.slice(1)}Options`;
    throw status.invalid({ group: 'meta.k8s.io', resource }, [
      status.notSupported('dryRun', values, ['All']),
    ]);
  }
  return values.length > 0;
}

/** A namespace is in none, though its path reads as if it were in itself. */
function keyIn({ namespaced }: ResourceType, { namespace, name }: ResourceRequest): string {
  return keyOf(namespaced ? namespace : '', name);
}

function sharingWith(object: KubeObject, old: KubeObject): KubeObject {
  const { apiVersion, kind, metadata, ...body } = object;
  const shared = Object.entries(body).map(([name, member]) => [name, sharing(member, old[name])] as const);
  return { ...Object.fromEntries(shared), apiVersion, kind, metadata };
}

function checkSameName({ metadata }: KubeObject, { name }: ResourceRequest): void {
  if (metadata.name !== name) throw status.otherName(metadata.name, name);
}

function withManagers(object: KubeObject, { metadata: { managedFields } }: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata: { ...metadata, ...(managedFields !== undefined && { managedFields }) } };
}

/** What whoever makes an object owns: what it said, not what the server adds to types of its own. */
function saidOf(
  { schema }: ResourceType,
  decoded: KubeObject,
  { metadata, ...born }: KubeObject,
): KubeObject {
  return {
    ...(schema === null ? decoded : born),
    apiVersion: decoded.apiVersion,
    kind: decoded.kind,
    metadata,
  };
}

function partOf(subresource: string): Part {
  return subresource === 'status' || subresource === 'finalize' ? subresource : '';
}

/** `generateName` and five characters that make no words. */
function withName(object: KubeObject): KubeObject {
  const { name, generateName } = object.metadata;
  if (name !== '' || typeof generateName !== 'string') return object;
  const suffix = Array.from({ length: 5 }, () => suffixLetters[randomInt(suffixLetters.length)]).join('');
  return { ...object, metadata: { ...object.metadata, name: `${generateName}${suffix}` } };
}

const suffixLetters = 'bcdfghjklmnpqrstvwxz2456789';
