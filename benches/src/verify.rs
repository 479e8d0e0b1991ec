//! At the end of a run: every create that was counted is in the store and at the upstream, exactly
//! once.

use settlement_gateway::proto::v1::{ListSettlesRequest, SettleState};

use crate::Failure;
use crate::load::{Client, connect};
use crate::numbers::{APPS, Number, Numbers, app_id};
use crate::upstream::Upstream;

const PAGE: i32 = 500;

/// Every number that was issued was answered OK; otherwise its round would have failed. So all of
/// these numbers must be there, and no others.
pub fn at_the_upstream(upstream: &Upstream, numbers: &Numbers) -> Result<(), Failure> {
    let (count, tag) = (numbers.count(), numbers.tag);
    let (once, taken) = upstream.taken(tag, count);
    if (once, taken) != (count, count) {
        return Err(format!(
            "{tag}: of {count} creates {once} are at the upstream once; it took {taken} in all"
        )
        .into());
    }
    Ok(())
}

/// Reads all settles that a gateway has stored, through its own lists.
pub fn in_the_store(url: &str, numbers: &Numbers) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = connect(url).await?;
        let mut seen = vec![0_u8; usize::try_from(numbers.count())?];
        for app in 0..APPS {
            list(&mut client, app, numbers, &mut seen).await?;
        }
        match seen.iter().position(|times| *times != 1) {
            Some(number) => Err(format!("{number} is in the store {} times", seen[number]).into()),
            None => Ok(()),
        }
    })
}

async fn list(
    client: &mut Client,
    app: u64,
    numbers: &Numbers,
    seen: &mut [u8],
) -> Result<(), Failure> {
    let mut request =
        ListSettlesRequest { app_id: app_id(app), page_size: PAGE, ..Default::default() };
    loop {
        let page = client.list_settles(request.clone()).await?.into_inner();
        for settle in page.settles {
            let number = Number::parse(&settle.out_settle_no).ok_or("a number of another kind")?;
            if number.tag != numbers.tag || settle.state() != SettleState::Processing {
                return Err(format!("{} is {:?}", settle.out_settle_no, settle.state()).into());
            }
            let times = seen.get_mut(usize::try_from(number.index)?).ok_or("an unknown number")?;
            *times = times.saturating_add(1);
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}
