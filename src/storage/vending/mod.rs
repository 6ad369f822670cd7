//! Vending: short-lived credentials for clients, which can read below some places and do nothing else.
//!
//! What must hold: what is given out has a policy that names the places and no action that writes, and the store was seen to hold such a policy;
//! nothing is given out that is about to end; what is kept is bounded. Whose places are given to whom is for the callers.

mod policy;
mod sts;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use moka::ops::compute::{CompResult, Op};
use object_store::aws::AwsCredentialProvider;
use uuid::Uuid;

pub use sts::SessionKeys;

use super::location::Place;
use super::object::Bucket;
use super::{Location, Storage, StoreSettings};
use crate::error::{Error, Kind, Result};
use sts::{AssumeRole, Sts};

/// Most credentials that are kept.
const KEPT_MAX: u64 = 10_000;
/// Credentials are made anew after this part of their life.
const RENEW_PART: u32 = 2;
/// After a renewal that failed while the old ones still serve.
const RENEW_PAUSE: Duration = Duration::from_secs(10);
/// What ends sooner is not given out.
const LEFT_MIN: Duration = Duration::from_secs(60);
/// The longest session name that STS takes.
const NAME_BYTES_MAX: usize = 64;
/// The region where nobody says one.
const REGION: &str = "us-east-1";

/// How credentials are made.
#[derive(Debug, Clone)]
pub struct VendingSettings {
    /// Where STS answers; without it where the store does, or that of AWS in the store's region.
    pub endpoint: Option<String>,
    /// The role whose rights are narrowed. AWS needs one, others do not.
    pub role_arn: Option<String>,
    /// What the credentials are called in the store's logs.
    pub session_name: String,
    /// How long they last.
    pub duration: Duration,
    /// Keys of AWS KMS that the places are encrypted with, as ARNs.
    pub kms_keys: Vec<String>,
}

/// Credentials for some places.
#[derive(Debug, Clone)]
pub struct Vended {
    /// The places, none below another.
    pub places: Vec<Location>,
    /// The keys that read below them.
    pub keys: SessionKeys,
}

/// Makes credentials and keeps them while they are good.
#[derive(Debug)]
pub struct Vending {
    storage: Arc<Storage>,
    settings: VendingSettings,
    sts: Sts,
    kept: moka::future::Cache<Session, Kept>,
    /// Accounts whose store was seen to refuse a write that the policy does not name. As many as there are stores in the configuration.
    proven: Mutex<HashSet<Account>>,
}

/// What credentials are made for: one account, one policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Session {
    account: Account,
    policy: String,
}

/// A store and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    endpoint: Option<String>,
    region: String,
    /// The settings' key; none is the environment's.
    access_key_id: Option<String>,
}

impl Account {
    fn of(settings: Option<&StoreSettings>) -> Self {
        let region = settings.and_then(|settings| settings.region.clone());
        let from_environment = || std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION")).ok();
        Account {
            endpoint: settings.and_then(|settings| settings.endpoint.clone()),
            region: region.or_else(from_environment).unwrap_or_else(|| REGION.to_owned()),
            access_key_id: settings.and_then(|s| s.access_key_id.as_ref()).map(|id| id.expose().to_owned()),
        }
    }
}

/// Places of one account.
struct Group {
    account: Account,
    credentials: AwsCredentialProvider,
    /// With their buckets and keys.
    places: Vec<(Location, String, String)>,
}

#[derive(Debug, Clone)]
struct Kept {
    keys: SessionKeys,
    renew_at: Instant,
}

impl Vending {
    /// For places that are reached as `storage` says.
    pub fn new(storage: Arc<Storage>, mut settings: VendingSettings) -> Result<Self> {
        settings.session_name = settings.session_name.chars().filter(char::is_ascii).take(NAME_BYTES_MAX).collect();
        let kept = moka::future::Cache::builder().max_capacity(KEPT_MAX).time_to_live(settings.duration).build();
        Ok(Vending { storage, settings, sts: Sts::new()?, kept, proven: Mutex::default() })
    }

    /// Whether credentials for a place can be asked for at all.
    pub fn check(&self, place: &Location) -> Result<()> {
        let account = Account::of(self.storage.settings.get(self.storage.settings_for(place)));
        let is_of_aws = self.settings.endpoint.is_none() && account.endpoint.is_none();
        if place.is_s3() && is_of_aws && self.settings.role_arn.is_none() {
            let message = format!(
                "credentials for {place} would be asked of AWS, which needs a role to narrow: write `replica.sts.role-arn`, or the endpoint of \
                 another store under `storage`"
            );
            return Err(Error::bad_request(message));
        }
        Ok(())
    }

    /// Credentials for what lies below these places: one for each account that they need, the first place's first. What is in no object store
    /// needs none.
    pub async fn read_only(&self, places: &[Location]) -> Result<Vec<Vended>> {
        let mut vended = Vec::new();
        for group in self.groups(places)? {
            let keys = self.keys(&group).await?;
            vended.push(Vended { places: group.places.into_iter().map(|(place, ..)| place).collect(), keys });
        }
        Ok(vended)
    }

    fn groups(&self, places: &[Location]) -> Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        for (at, place) in places.iter().enumerate() {
            let Ok(Place::Object { bucket, key }) = self.storage.place(place) else { continue };
            // of two that lead to the same place the first counts
            let covers = |(other_at, other): (usize, &Location)| {
                other_at != at && place.leads_into(other) && (other_at < at || !other.leads_into(place))
            };
            if places.iter().enumerate().any(covers) {
                continue;
            }
            let account = Account::of(self.storage.settings.get(self.storage.settings_for(place)));
            let known = groups.iter_mut().find(|group| group.account == account);
            let placed = (place.clone(), bucket, key);
            match known {
                Some(group) => group.places.push(placed),
                None => {
                    let credentials = self.storage.bucket(place, &placed.1)?.credentials();
                    groups.push(Group { account, credentials, places: vec![placed] });
                }
            }
        }
        Ok(groups)
    }

    /// Kept keys, or new ones. Whoever asks for the same meanwhile waits for them.
    async fn keys(&self, group: &Group) -> Result<SessionKeys> {
        let places: Vec<(&str, &str)> = group.places.iter().map(|(_, bucket, key)| (&**bucket, &**key)).collect();
        let policy = policy::read_only(&places, &self.settings.kms_keys, self.settings.role_arn.as_deref())?;
        let session = Session { account: group.account.clone(), policy };
        if let Some(kept) = self.kept.get(&session).await.filter(Kept::is_fresh) {
            return Ok(kept.keys);
        }
        let renewed = self.kept.entry_by_ref(&session).and_try_compute_with(|old| async {
            let old = old.map(|entry| entry.into_value());
            if old.as_ref().is_some_and(Kept::is_fresh) {
                return Ok(Op::Nop);
            }
            match (self.make(group, &session).await, old.filter(Kept::serves)) {
                (Ok(kept), _) => Ok(Op::Put(kept)),
                (Err(error), Some(old)) => {
                    tracing::warn!(error = %error, "credentials for clients were not made anew; the old ones are given out while they last");
                    Ok(Op::Put(Kept { renew_at: Instant::now() + RENEW_PAUSE, ..old }))
                }
                (Err(error), None) => Err(error),
            }
        });
        match renewed.await? {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                Ok(entry.into_value().keys)
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => Err(Error::internal("credentials were made and lost")),
        }
    }

    async fn make(&self, group: &Group, session: &Session) -> Result<Kept> {
        let account = &group.account;
        let credential = group
            .credentials
            .get_credential()
            .await
            .map_err(|e| Error::new(Kind::Unavailable, "no keys of our own to ask STS with").with_source(e))?;
        let of_aws = format!("https://sts.{}.amazonaws.com", account.region);
        let endpoint = self.settings.endpoint.as_ref().or(account.endpoint.as_ref()).unwrap_or(&of_aws);
        let asked_at = Instant::now();
        let asked = AssumeRole {
            endpoint,
            region: &account.region,
            credential: &credential,
            role_arn: self.settings.role_arn.as_deref(),
            session_name: &self.settings.session_name,
            duration: self.settings.duration,
            policy: &session.policy,
        };
        let keys = self.sts.assume_role(asked).await?;
        self.prove(group, &keys).await?;
        let life = keys.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        if life < LEFT_MIN {
            return Err(Error::internal("STS gave credentials that end at once: check the clocks of both"));
        }
        Ok(Kept { keys, renew_at: asked_at + life / RENEW_PART })
    }
}

impl Vending {
    /// Once an account: a store may know AssumeRole and pass over the policy, and then what it gives can write.
    async fn prove(&self, group: &Group, keys: &SessionKeys) -> Result<()> {
        let is_proven = || self.proven.lock().unwrap_or_else(PoisonError::into_inner).contains(&group.account);
        let Some((place, bucket, key)) = group.places.first().filter(|_| !is_proven()) else { return Ok(()) };
        let settings = self.storage.settings.get(self.storage.settings_for(place));
        let probe = format!("{key}/lifeboat-probe-{}", Uuid::new_v4());
        if Bucket::open_with(bucket, settings, keys)?.may_write(probe.trim_start_matches('/')).await? {
            let message = format!(
                "the store of {place} gives credentials and does not hold their policy: they could write, so they are not given out; write \
                 `credentials: client-config` or `none`"
            );
            return Err(Error::new(Kind::Unsupported, message));
        }
        self.proven.lock().unwrap_or_else(PoisonError::into_inner).insert(group.account.clone());
        Ok(())
    }
}

impl Kept {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.renew_at && self.serves()
    }

    fn serves(&self) -> bool {
        self.keys.expires_at.duration_since(SystemTime::now()).is_ok_and(|left| left >= LEFT_MIN)
    }
}

#[cfg(test)]
pub(crate) mod tests;
