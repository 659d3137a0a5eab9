import { randomInt, randomUUID } from 'node:crypto';
import type { Admission, Attempt } from './admission.ts';
import type { ResourceRequest } from './api-request.ts';
import { asObject, decodeObject } from './decode.ts';
import {
  isEqual,
  type Json,
  type JsonObject,
  type KubeObject,
  type Metadata,
  textAt,
  textsAt,
} from './json.ts';
import { applyJsonPatch } from './json-patch.ts';
import { applyMergePatch } from './merge-patch.ts';
import { checkMetadata, checkMetadataUpdate } from './metadata-rules.ts';
import type { ObjectStore, Stored } from './object-store.ts';
import { keyOf, type Part, type ResourceType, tableOf } from './resource-type.ts';
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
}

export interface Caller {
  readonly user: User;
  /** Who manages the fields that are written: `fieldManager`, or the first word of the user agent. */
  readonly manager: string;
}

export interface Outcome {
  readonly code: number;
  readonly object: JsonObject;
}

/** Reads and writes single objects of every type. */
export class ObjectVerbs {
  readonly #parts: VerbParts;

  constructor(parts: VerbParts) {
    this.#parts = parts;
  }

  get(type: ResourceType, request: ResourceRequest): KubeObject {
    return this.#existing(type, request).object;
  }

  create(type: ResourceType, request: ResourceRequest, caller: Caller, body: Json): Outcome {
    const object = this.#inPlace(type, request, withName(decodeObject(body, type)));
    if (object.metadata.resourceVersion !== '') {
      throw status.badRequest('resourceVersion should not be set on objects to be created');
    }
    return { code: 201, object: this.#insert(type, request, caller, object) };
  }

  update(type: ResourceType, request: ResourceRequest, caller: Caller, body: Json): Outcome {
    const object = this.#inPlace(type, request, decodeObject(body, type));
    const { name } = object.metadata;
    if (name !== request.name) {
      const text = `the name of the object (${name}) does not match the name on the URL (${request.name})`;
      throw status.badRequest(text);
    }
    const stored = this.#find(type, request);
    if (stored === null) {
      if (!type.createOnUpdate || object.metadata.resourceVersion !== '') throw this.#missing(type, request);
      return { code: 201, object: this.#insert(type, request, caller, object) };
    }
    return { code: 200, object: this.#replace(type, request, caller, stored, object) };
  }

  patch(
    type: ResourceType,
    request: ResourceRequest,
    caller: Caller,
    patchType: string,
    patch: Json,
  ): Outcome {
    const stored = this.#existing(type, request);
    const patched = asObject(patchedBy(patchType, stored.object, patch, type));
    const object = this.#inPlace(type, request, decodeObject(patched, type));
    if (object.metadata.name !== request.name) {
      const text = `the name of the object (${object.metadata.name}) does not match the name on the URL (${request.name})`;
      throw status.badRequest(text);
    }
    return { code: 200, object: this.#replace(type, request, caller, stored, object) };
  }

  delete(type: ResourceType, request: ResourceRequest, caller: Caller, options: Json): Outcome {
    const stored = this.#existing(type, request);
    const { object } = stored;
    const named = this.#named(type, request);
    const { uid, resourceVersion } = object.metadata;
    const wanted = [
      textAt(options, 'preconditions', 'uid'),
      textAt(options, 'preconditions', 'resourceVersion'),
    ];
    if (wanted[0] !== undefined && wanted[0] !== uid) {
      throw status.conflict(
        named,
        `Precondition failed: UID in precondition: ${wanted[0]}, UID in object meta: ${uid}`,
      );
    }
    if (wanted[1] !== undefined && wanted[1] !== resourceVersion) {
      const text = `Precondition failed: ResourceVersion in precondition: ${wanted[1]}, ResourceVersion in object meta: ${resourceVersion}`;
      throw status.conflict(named, text);
    }
    const attempt = this.#attempt('DELETE', type, request, caller, null, object);
    this.#parts.admission.admit(attempt);
    this.#parts.admission.validate(attempt);
    const finalizers = [...(object.metadata.finalizers ?? []), ...finalizersOf(options)];
    const waits =
      finalizers.length > 0 ||
      (type.plural === 'namespaces' && textsAt(object, 'spec', 'finalizers').length > 0);
    if (waits) {
      if (object.metadata.deletionTimestamp !== undefined) return { code: 200, object };
      const metadata: Metadata = {
        ...object.metadata,
        deletionTimestamp: this.#timestamp(),
        deletionGracePeriodSeconds: 0,
        ...(finalizers.length > 0 && { finalizers }),
      };
      const phase = type.plural === 'namespaces' && { status: { phase: 'Terminating' } };
      const marked = { ...object, metadata, ...phase };
      if (attempt.dryRun) return { code: 200, object: marked };
      const after = this.#parts.store.put(tableOf(type), keyOf(request.namespace, request.name), marked);
      this.#log(request, caller, object, after.object);
      return { code: 200, object: after.object };
    }
    if (!attempt.dryRun) {
      this.#parts.store.remove(tableOf(type), keyOf(request.namespace, request.name));
      this.#log(request, caller, object, null);
    }
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

  #insert(type: ResourceType, request: ResourceRequest, caller: Caller, decoded: KubeObject): KubeObject {
    const name = decoded.metadata.name;
    const key = keyOf(request.namespace, name);
    const named = { ...request, name };
    const prepared = type.strategy.prepareCreate(this.#born(decoded));
    const attempt = this.#attempt('CREATE', type, named, caller, prepared, null);
    this.#parts.admission.admit(attempt);
    this.#check(type, prepared, null, '');
    this.#parts.admission.validate(attempt);
    if (this.#parts.store.get(tableOf(type), key) !== null)
      throw status.alreadyExists(this.#named(type, named));
    if (attempt.dryRun) return prepared;
    const after = this.#parts.store.put(tableOf(type), key, prepared);
    this.#log(named, caller, null, after.object);
    return after.object;
  }

  #replace(
    type: ResourceType,
    request: ResourceRequest,
    caller: Caller,
    stored: Stored,
    decoded: KubeObject,
  ): KubeObject {
    const old = stored.object;
    const part = partOf(request.subresource);
    const { resourceVersion, uid } = decoded.metadata;
    const named = this.#named(type, request);
    if (uid !== '' && uid !== old.metadata.uid) {
      throw status.conflict(
        named,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`,
      );
    }
    if (resourceVersion === '' && !type.unconditionalUpdate) {
      const cause = status.invalidValue('metadata.resourceVersion', 0, 'must be specified for an update');
      throw status.invalid({ group: type.group, resource: type.kind, name: request.name }, [cause]);
    }
    const attempt = this.#attempt('UPDATE', type, request, caller, decoded, old);
    this.#parts.admission.admit(attempt);
    if (resourceVersion !== '' && resourceVersion !== old.metadata.resourceVersion) {
      throw status.conflict(named, status.staleObject);
    }
    const prepared = type.strategy.prepareUpdate(this.#kept(decoded, old), old, part);
    this.#check(type, prepared, old, part);
    this.#parts.admission.validate({ ...attempt, object: prepared });
    const isGone =
      prepared.metadata.deletionTimestamp !== undefined &&
      prepared.metadata.finalizers === undefined &&
      (type.plural !== 'namespaces' || textsAt(prepared, 'spec', 'finalizers').length === 0);
    const key = keyOf(request.namespace, request.name);
    if (isGone) {
      if (!attempt.dryRun) {
        this.#parts.store.remove(tableOf(type), key);
        this.#log(request, caller, old, null);
      }
      return prepared;
    }
    // An update that changes nothing is none: no new version, nothing for watches.
    if (isEqual(prepared, old)) return old;
    if (attempt.dryRun) return prepared;
    const after = this.#parts.store.put(tableOf(type), key, prepared);
    this.#log(request, caller, old, after.object);
    return after.object;
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

  #find(type: ResourceType, { namespace, name }: ResourceRequest): Stored | null {
    return this.#parts.store.get(tableOf(type), keyOf(namespace, name));
  }

  #existing(type: ResourceType, request: ResourceRequest): Stored {
    const stored = this.#find(type, request);
    if (stored === null) throw this.#missing(type, request);
    return stored;
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

export function isDryRun({ query }: ResourceRequest): boolean {
  const values = query.getAll('dryRun').filter((value) => value !== '');
  if (values.some((value) => value !== 'All')) {
    throw status.invalid({ group: 'meta.k8s.io', resource: 'PatchOptions' }, [
      status.notSupported('dryRun', values.join(','), ['All']),
    ]);
  }
  return values.length > 0;
}

function partOf(subresource: string): Part {
  return subresource === 'status' || subresource === 'finalize' ? subresource : '';
}

/** By the deletion's own wish: a controller would take them away again. */
function finalizersOf(options: Json): readonly string[] {
  const policy = textAt(options, 'propagationPolicy');
  return policy === 'Foreground' ? ['foregroundDeletion'] : policy === 'Orphan' ? ['orphan'] : [];
}

/** `generateName` and five characters that make no words. */
function withName(object: KubeObject): KubeObject {
  const { name, generateName } = object.metadata;
  if (name !== '' || typeof generateName !== 'string') return object;
  const suffix = Array.from({ length: 5 }, () => suffixLetters[randomInt(suffixLetters.length)]).join('');
  return { ...object, metadata: { ...object.metadata, name: `${generateName}${suffix}` } };
}

const suffixLetters = 'bcdfghjklmnpqrstvwxz2456789';
