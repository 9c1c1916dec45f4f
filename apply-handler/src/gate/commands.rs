//! The commands that the handler sends to Redis on an open connection.

use super::error::reply_code;
use rushgate_gate::script::Eval;
use rushgate_gate::{Call, CampaignId, Value, keys};
use spin_sdk::redis::{Connection, Error, RedisParameter, RedisResult};

/// Runs a script by SHA-1, and by source if the server does not have it. The host takes keys and arguments without a copy,
/// so `call` makes them for each attempt.
pub(super) async fn eval(
    connection: &Connection,
    call: impl Fn() -> Call,
) -> Result<Vec<Value>, Error> {
    let execute = |eval: Eval| {
        let arguments: Vec<_> = call()
            .into_arguments(eval)
            .map(|argument| RedisParameter::Binary(argument.into_bytes()))
            .collect();
        connection.execute(eval.command(), arguments)
    };
    let reply = match execute(Eval::BySha).await {
        Err(error) if reply_code(&error) == Some("NOSCRIPT") => execute(Eval::BySource).await,
        reply => reply,
    }?;
    Ok(reply
        .into_iter()
        .map(|value| match value {
            RedisResult::Int64(number) => Value::Integer(number),
            RedisResult::Binary(bytes) => Value::Bytes(bytes),
            RedisResult::Nil | RedisResult::Status(_) => Value::Other,
        })
        .collect())
}

/// A page of the index of campaigns. Before the index exists, the set of campaigns is sorted instead.
pub(super) async fn campaign_names(
    connection: &Connection,
    after: Option<&CampaignId>,
    most: usize,
) -> Result<Vec<String>, Error> {
    let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
    let count = most.to_string();
    let range = [keys::CAMPAIGN_INDEX, &from, "+", "LIMIT", "0", &count];
    let names: Vec<String> = connection
        .execute("ZRANGEBYLEX", parameters(&range))
        .await?
        .into_iter()
        .filter_map(|name| match name {
            RedisResult::Binary(name) => String::from_utf8(name).ok(),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return Ok(names);
    }
    if number(connection, "EXISTS", &[keys::CAMPAIGN_INDEX]).await? > 0 {
        return Ok(names);
    }
    let mut names = connection.smembers(keys::CAMPAIGNS).await?;
    names.retain(|name| after.is_none_or(|after| name.as_str() > after.as_str()));
    names.sort_unstable();
    names.truncate(most);
    Ok(names)
}

/// Whether `campaign` is in the list of campaigns.
pub(super) async fn is_listed(
    connection: &Connection,
    campaign: &CampaignId,
) -> Result<bool, Error> {
    let name = [keys::CAMPAIGNS, campaign.as_str()];
    Ok(number(connection, "SISMEMBER", &name).await? > 0)
}

/// Whether Redis has neither a list of campaigns nor the mark of `rushgate setup`.
pub(super) async fn is_wiped(connection: &Connection) -> Result<bool, Error> {
    if number(connection, "EXISTS", &[keys::CAMPAIGNS]).await? > 0 {
        return Ok(false);
    }
    // The index is built from the set. If only the index exists, the set has been lost.
    Ok(
        number(connection, "EXISTS", &[keys::CAMPAIGN_INDEX]).await? > 0
            || number(connection, "EXISTS", &[keys::SET_UP]).await? == 0,
    )
}

/// Runs a command whose reply is a number.
async fn number(connection: &Connection, command: &str, words: &[&str]) -> Result<i64, Error> {
    let reply = connection.execute(command, parameters(words)).await?;
    match reply.as_slice() {
        [RedisResult::Int64(number)] => Ok(*number),
        _ => Err(Error::TypeError),
    }
}

fn parameters(words: &[&str]) -> Vec<RedisParameter> {
    words
        .iter()
        .map(|word| RedisParameter::Binary(word.as_bytes().to_vec()))
        .collect()
}
