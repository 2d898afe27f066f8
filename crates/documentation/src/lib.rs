//! What holds the documentation to the project: its links lead somewhere ([`links`]), every page is in the table of
//! contents ([`contents`]), every field of a kind is on its page ([`fields`]), messages are quoted as the program says
//! them ([`messages`]), charts show what the tables say ([`charts`]), and commands of a tutorial print what it shows
//! ([`tutorial`]). For the site, [`site`] gives links that leave the
//! documentation an address.

pub mod charts;
pub mod contents;
pub mod fields;
pub mod files;
pub mod links;
pub mod markdown;
pub mod messages;
pub mod site;
pub mod tutorial;
