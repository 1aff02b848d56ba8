//! `wakeonlan`: the packet that wakes a machine.

use std::net::UdpSocket;

use crate::machine::{Effect, Machine};

use super::{Failure, ModuleResult, Outcome};

crate::arguments! {
    /// Send a magic Wake-on-LAN broadcast packet.
    pub(crate) struct WakeonlanArgs for "community.general.wakeonlan" {
        /// The address of the card to wake.
        mac: String { required },
        /// Where to send the packet.
        broadcast: String { default: "255.255.255.255" },
        port: i64 { default: "7" },
    }
}

/// Sends the packet.
pub(crate) fn run(machine: &mut Machine, args: WakeonlanArgs) -> ModuleResult {
    let packet = packet(&args.mac)?;
    let port = u16::try_from(args.port)
        .map_err(|_| Failure::new("getsockaddrarg: port must be 0-65535."))?;
    let effect = Effect::Compensated {
        what: format!("wake {}", args.mac),
        undo: Vec::new(),
    };
    if machine.affect(effect)? {
        let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.set_broadcast(true)?;
            socket.send_to(&packet, (args.broadcast.as_str(), port))
        });
        sent.map_err(|error| Failure::new(crate::machine::reason_text(&error)))?;
    }
    Ok(Outcome::changed())
}

/// Returns six bytes of ones, and the address as often as it may be asked for.
fn packet(written: &str) -> Result<Vec<u8>, Failure> {
    let letters: Vec<char> = written.chars().collect();
    let letters: Vec<char> = if letters.len() == 17 {
        let between = letters[2];
        letters.into_iter().filter(|it| *it != between).collect()
    } else {
        letters
    };
    if letters.len() != 12 {
        return Err(Failure::new(format!(
            "Incorrect MAC address length: {written}"
        )));
    }
    let digits: Option<Vec<u32>> = letters.iter().map(|letter| letter.to_digit(16)).collect();
    let digits =
        digits.ok_or_else(|| Failure::new(format!("Incorrect MAC address format: {written}")))?;
    let address: Vec<u8> = digits
        .chunks(2)
        .filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect();
    Ok([[0xff; 6].to_vec(), address.repeat(20)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{Target, predicting};

    #[test]
    fn the_packet_holds_the_address_twenty_times() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let options =
            format!(r#"{{"mac": "00:1b:63:84:45:E6", "broadcast": "127.0.0.1", "port": {port}}}"#);
        let target = Target::new();
        assert_eq!(
            target.run("community.general.wakeonlan", &options),
            r#"{"changed":true}"#
        );
        let mut packet = [0; 200];
        let size = listener.recv(&mut packet).unwrap();
        assert_eq!(size, 6 + 20 * 6);
        assert_eq!(packet[..6], [0xff; 6]);
        assert_eq!(packet[120..126], [0x00, 0x1b, 0x63, 0x84, 0x45, 0xe6]);
        // Port 9 of nowhere: in check mode nothing is sent.
        let args = WakeonlanArgs {
            mac: "001b638445e6".into(),
            broadcast: "no such host".into(),
            port: 9,
        };
        assert!(run(&mut predicting(), args).unwrap().changed);
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for (mac, msg) in [
            ("00:1b", "Incorrect MAC address length: 00:1b"),
            (
                "00:1b:63:84:45:zz",
                "Incorrect MAC address format: 00:1b:63:84:45:zz",
            ),
        ] {
            assert_eq!(packet(mac).unwrap_err().msg, msg);
        }
    }
}
