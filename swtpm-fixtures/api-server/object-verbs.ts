import { randomInt, randomUUID } from 'node:crypto';
import type { Admission, Attempt } from './admission.ts';
import type { ResourceRequest } from './api-request.ts';
import { configurationOf, notInSchema } from './applied-configuration.ts';
import { pruneBuiltin } from './builtin-fields.ts';
import { asObject, decodeObject, unknownOfMetadata } from './decode.ts';
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
  /** An object of this type went for good. */
  readonly removed: (type: ResourceType, object: KubeObject) => void;
}

export interface Caller {
  readonly user: User;
  /** Who manages the fields that are written: `fieldManager`, or the first word of the user agent. */
  readonly manager: string;
  /** Where a patch or a PUT would make the object: whether the caller may. @throws ApiError 403 */
  readonly checkMayCreate: () => void;
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

  create(type: ResourceType, request: ResourceRequest, caller: Caller, body: Json): Outcome {
    const { object: decoded, warnings } = this.#decoded(type, request, body);
    const object = withName(decoded);
    if (object.metadata.resourceVersion !== '') {
      throw status.badRequest('resourceVersion should not be set on objects to be created');
    }
    return { code: 201, object: this.#insert(type, request, caller, object), warnings };
  }

  update(type: ResourceType, request: ResourceRequest, caller: Caller, body: Json): Outcome {
    const { object, warnings } = this.#decoded(type, request, body);
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
    patch: Json,
  ): Outcome {
    if (patchType.startsWith('application/apply-patch+')) return this.#apply(type, request, caller, patch);
    const old = this.#existing(type, request);
    const patched = asObject(patchedBy(patchType, old, patch, type));
    const { object, warnings } = this.#decoded(type, request, patched);
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
    const named = { ...config, metadata: { name: request.name, ...asObject(config.metadata ?? {}) } };
    const strict = { ...request, query: new URLSearchParams(query) };
    strict.query.set('fieldValidation', 'Ignore');
    const { object, warnings } = this.#decoded(type, strict, named);
    if (object.metadata.managedFields !== undefined) {
      throw status.badRequest('metadata.managedFields must be nil');
    }
    checkSameName(object, request);
    const [unknown] = warnings;
    if (unknown !== undefined) throw notInSchema(type, request, unknown);
    const old = this.#find(type, request);
    if (old === null && request.subresource !== '') throw this.#missing(type, request);
    if (old === null) caller.checkMayCreate();
    const wanted = configurationOf(object, named, request.subresource, type);
    const force = ['true', '1'].includes(query.get('force') ?? '');
    const applied = apply(wanted, old, this.#manager(type, request, manager), force, type.lists);
    const { uid, resourceVersion: _, creationTimestamp, ...rest } = applied.metadata;
    const metadata =
      old === null
        ? rest
        : { ...rest, uid, creationTimestamp, resourceVersion: object.metadata.resourceVersion };
    const { object: whole } = this.#decoded(type, strict, { ...applied, metadata });
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
    this.#parts.admission.validate(attempt);
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
    if (!attempt.dryRun) this.#remove(type, request, caller, object);
    if (returnsDeleted(type)) return { code: 200, object: type.plural === 'pods' ? marked : object };
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
    const prepared = isApplied ? born : afterUpdate(born, null, manager, type.lists);
    const attempt = this.#attempt('CREATE', type, named, caller, prepared, null);
    this.#parts.admission.admit(attempt);
    this.#check(type, prepared, null, '');
    this.#parts.admission.validate(attempt);
    if (this.#find(type, named) !== null) throw status.alreadyExists(this.#named(type, named));
    return attempt.dryRun ? prepared : this.#put(type, named, caller, null, prepared);
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
    if (uid !== '' && uid !== old.metadata.uid) {
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
      : afterUpdate(updated, old, this.#manager(type, request, caller.manager), type.lists);
    this.#check(type, prepared, old, part);
    this.#parts.admission.validate({ ...attempt, object: prepared });
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

  /** In shape, in its place, and without what the type does not know; the request says how loud that is told. */
  #decoded(
    type: ResourceType,
    request: ResourceRequest,
    body: Json,
  ): { readonly object: KubeObject; readonly warnings: readonly string[] } {
    const decoded = decodeObject(body, type);
    const pruned = type.strategy.prune?.(decoded) ?? pruneBuiltin(decoded, type.group, type.kind);
    const unknown = [...pruned.unknown, ...unknownOfMetadata(body).map((name) => `metadata.${name}`)];
    const warnings = unknown.map((name) => `unknown field "${name}"`);
    const { apiVersion, kind, metadata } = decoded;
    const object = this.#inPlace(type, request, { ...pruned.object, apiVersion, kind, metadata });
    if (warnings.length === 0 || request.query.get('fieldValidation') !== 'Strict')
      return { object, warnings };
    const text = `strict decoding error: ${warnings.join(', ')}`;
    if (request.verb !== 'patch') {
      const what = `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}`;
      throw status.badRequest(`${what}: ${text}`);
    }
    throw status.invalid({ group: '', resource: '' }, [status.invalidValue('patch', '', text)]);
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
        ...{ uid, creationTimestamp, resourceVersion },
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

  /** In the namespace of the path, and in no other. */
  #inPlace(type: ResourceType, { namespace }: ResourceRequest, object: KubeObject): KubeObject {
    const { namespace: said, ...metadata } = object.metadata;
    if (!type.namespaced) {
      if (said !== undefined)
        throw status.badRequest('namespace should not be set on a cluster-scoped object');
      return object;
    }
    if (said !== undefined && said !== namespace) {
      const text = `the namespace of the provided object does not match the namespace sent on the request`;
      throw status.badRequest(text);
    }
    return { ...object, metadata: asMetadata(metadata, namespace) };
  }

  /** RFC 3339, whole seconds, as all of Kubernetes has it. */
  #timestamp(): string {
    return timestampOf(this.#parts.now());
  }
}

export function timestampOf(now: number): string {
  return new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
}

function asMetadata(metadata: Omit<Metadata, 'namespace'>, namespace: string): Metadata {
  const { name, uid, resourceVersion, creationTimestamp } = metadata;
  return {
    ...metadata,
    name: String(name),
    namespace,
    uid: String(uid),
    resourceVersion: String(resourceVersion),
    creationTimestamp: String(creationTimestamp),
  };
}

function patchedBy(patchType: string, object: KubeObject, patch: Json, type: ResourceType): Json {
  switch (patchType) {
    case 'application/json-patch+json':
      return applyJsonPatch(object, patch);
    case 'application/merge-patch+json':
      return applyMergePatch(object, asObject(patch));
    case 'application/strategic-merge-patch+json':
      return applyStrategicMerge(object, asObject(patch), type.lists);
    default:
      throw status.unsupportedMediaType(patchTypes);
  }
}

const patchTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];

/** A deletion may say it in its body, too. @throws ApiError 422 */
function isDryRun({ verb, query }: ResourceRequest): boolean {
  if (verb === 'delete' || verb === 'deletecollection') return false;
  const values = query.getAll('dryRun');
  if (values.some((value) => value !== 'All')) {
    const resource = `${verb.slice(0, 1).toUpperCase()}${verb.slice(1)}Options`;
    throw status.invalid({ group: 'meta.k8s.io', resource }, [status.notSupported('dryRun', values, ['All'])]);
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
  if (metadata.name === name) return;
  const text = `the name of the object (${metadata.name}) does not match the name on the URL (${name})`;
  throw status.badRequest(text);
}

function withManagers(object: KubeObject, { metadata: { managedFields } }: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata: { ...metadata, ...(managedFields !== undefined && { managedFields }) } };
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
