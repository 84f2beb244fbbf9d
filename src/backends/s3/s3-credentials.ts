import { HttpError } from '../http/http-error.js'
import type { S3CredentialOptions } from './s3-options.js'

/** What expires is renewed this long before its end: longer than a request and its retries take. */
const RENEW_BEFORE_MS = 5 * 60_000

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
  readonly expiration?: Date | undefined
}

/**
 * Credentials of one mount: the profile's own, or what the AWS SDK finds where OpenDAL looks too. The SDK is loaded only where it
 * is needed: it costs half a second and 15 MiB.
 */
export class S3CredentialSource {
  private present: S3Credentials | null = null
  private search: Promise<S3Credentials | null> | null = null

  constructor(private readonly options: S3CredentialOptions) {}

  /**
   * null: requests go unsigned.
   * @throws HttpError EACCES where there are none
   */
  async current(): Promise<S3Credentials | null> {
    const { fixed, role } = this.options
    if (fixed !== null && role === null) return fixed
    const { present } = this
    if (present !== null && Date.now() < expiryOf(present) - RENEW_BEFORE_MS) return present
    this.search ??= this.find().finally(() => {
      this.search = null
    })
    return this.search
  }

  /** The server refused `used`: look again, where others may be found. */
  forget(used: S3Credentials): void {
    if (this.present === used) this.present = null
  }

  private async find(): Promise<S3Credentials | null> {
    try {
      this.present = await this.ask()
      return this.present
    } catch (error) {
      // Still good for a while, and the next request asks again.
      if (this.present !== null && Date.now() < expiryOf(this.present)) return this.present
      if (this.options.mayBeAnonymous) return null
      const reason = error instanceof Error ? error.message : String(error)
      throw new HttpError({ errno: 'EACCES', retryable: true }, `no credentials for S3: ${reason}`, error)
    }
  }

  private async ask(): Promise<S3Credentials> {
    const { fixed, role, region, looksAround, asksMetadataService } = this.options
    const aws = await import('@aws-sdk/credential-providers')
    const clientConfig = { region }
    const chain =
      fixed === null
        ? aws.createCredentialChain(
            ...(looksAround
              ? [aws.fromEnv(), aws.fromIni({ clientConfig }), aws.fromTokenFile({ clientConfig })]
              : []),
            ...(asksMetadataService ? [aws.fromContainerMetadata(), aws.fromInstanceMetadata()] : []),
          )
        : () => Promise.resolve(fixed)
    if (role === null) return chain()
    return aws.fromTemporaryCredentials({
      clientConfig,
      masterCredentials: chain,
      params: {
        RoleArn: role.arn,
        RoleSessionName: role.sessionName,
        ...(role.externalId === undefined ? {} : { ExternalId: role.externalId }),
      },
    })()
  }
}

function expiryOf({ expiration }: S3Credentials): number {
  return expiration?.getTime() ?? Infinity
}
